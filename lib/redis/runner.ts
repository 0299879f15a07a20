/** Runs scripts: by their hash, and by their text if Redis does not know that. */
import { type Redis, Command as RedisCommand } from "ioredis"

export type Command = readonly [name: string, ...args: (string | number)[]]

export interface Script {
  text: string
  sha: string
}

/** Runs scripts. All `keys` are in one slot. `mustReplicate`: a client gets the result, so the writes must not be lost. */
export interface Runner {
  /** The number of the database, which is part of the channels. Absent: 0. */
  readonly database?: number
  run(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
    mustReplicate: boolean,
  ): Promise<unknown>
}

/** Reports the duration of each script in seconds, also if it fails. */
export const timed = (runner: Runner, took: (seconds: number) => void): Runner => ({
  database: runner.database ?? 0,
  async run(...call) {
    const from = performance.now()
    try {
      return await runner.run(...call)
    } finally {
      took((performance.now() - from) / 1_000)
    }
  },
})

/** The database that a connection uses. ioredis keeps the text of a URL, such as `3/`. */
export const databaseOf = (redis: Redis): number => Number.parseInt(String(redis.options.db ?? 0), 10)

/** Like `redis.call`, but without three copies of the arguments. */
export const send = (redis: Redis, [name, ...args]: Command) =>
  redis.sendCommand(new RedisCommand(name, args, { replyEncoding: "utf8" })) as Promise<unknown>

/** Runs a script by its hash. If Redis does not know it, it has run nothing, and the text is sent. */
export async function evaluate(
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
  run: (command: Command) => Promise<unknown>,
): Promise<unknown> {
  try {
    return await run(["EVALSHA", script.sha, keys.length, ...keys, ...args])
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith("NOSCRIPT"))) throw error
    return await run(["EVAL", script.text, keys.length, ...keys, ...args])
  }
}
