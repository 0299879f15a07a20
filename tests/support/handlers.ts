/** The handlers of worker processes in tests. Each worker has a file in $RUNS, with one line per run of a handler. */
import { existsSync, openSync, writeSync } from "node:fs"
import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { Handler, HandlerContext } from "../../lib/handlers.ts"

let file: number | undefined

/** O_APPEND and a single write: no line is lost if the worker is killed, and lines are never interleaved. */
function record({ task }: HandlerContext): void {
  file ??= openSync(join(process.env.RUNS!, `worker-${process.pid}`), "a")
  writeSync(file, `${task.id} ${task.attempt}\n`)
}

const handlers: Record<string, Handler> = {
  record: (_, context) => record(context),

  /** Runs until the file `go` exists. */
  hold: async (_, context) => {
    record(context)
    while (!existsSync(join(process.env.RUNS!, "go"))) await sleep(5, undefined, { signal: context.signal })
    return "held"
  },

  /** Writes more than a pipe and the worker hold, in each way that a handler can. */
  shout: (_, context) => {
    const line = "x".repeat(1_000)
    for (let i = 0; i < 1_000; i++) {
      context.log(line)
      console.log(line)
      console.error("%s", line)
      process.stdout.write(`${line}\n`)
      console.write(`${line}\n`)
    }
  },

  /** Kills its own worker. */
  kill: (_, context) => {
    record(context)
    process.kill(process.pid, "SIGKILL")
  },
}
export default handlers

/** The task ids of all runs, by worker. */
export async function runsByWorker(path: string): Promise<string[][]> {
  const files = (await readdir(path)).filter(name => name.startsWith("worker-"))
  const texts = await Promise.all(files.map(name => readFile(join(path, name), "utf8")))
  return texts.map(text =>
    text
      .split("\n")
      .filter(line => line !== "")
      .map(line => line.split(" ")[0]!),
  )
}
