/** What one server reports about itself, and whether it accepts what the broker needs. */
import type { Redis } from "ioredis"
import type { DURABILITIES } from "../wire/operating.ts"
import { LOADING } from "./connection.ts"
import { MISSING, probeKey, SCHEMA } from "./keys.ts"
import { lackOfRights, missingRight, probeCalls, tryCommand } from "./rights.ts"
import { PROBE } from "./scripts.ts"

export interface ServerState {
  version: string
  maxmemoryPolicy: string
  /** What survives a power cut with the current settings of Redis. */
  durability: (typeof DURABILITIES)[number]
  /** The memory that Redis uses; 0: unknown. Its limit; 0: none. */
  usedBytes: number
  maxBytes: number
  /** How many replicas are connected. */
  replicas: number
  /** Why it does not accept what the broker needs. */
  refusal: Error | undefined
}

/** The most that WAIT_REPLICAS may ask for. */
const MAX_REPLICAS = 10

/** The Redis user lacks rights. */
export class MissingRights extends Error {}

/** What a server does not report. */
export const UNKNOWN = "unknown"
export const NO_INFO =
  "Redis refuses INFO, so its version and settings are unknown. Make sure that it is 7.0 or newer, with maxmemory-policy noeviction and appendonly yes."

/** The value of a line of INFO. */
export const line = (info: string, name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1]

/** `key`: SCHEMA on the server that has it, any key of the server elsewhere. `waits`: the broker uses WAIT. */
export async function serverState(redis: Redis, key: string, waits: boolean): Promise<ServerState> {
  const missing = new Set<string>()
  // INFO is also answered before the connection is usable and while Redis loads its data. Managed servers may refuse it.
  const info = await redis.info()
  const refusal =
    line(info, "loading") === "1" ? new Error(LOADING) : await refusalOf(redis, key, waits, missing)
  // Managed servers may refuse CONFIG. INFO has the policy and whether there is an AOF, but not appendfsync.
  const fsync = await redis.config("GET", "appendfsync").then(
    reply => (reply as string[])[1],
    () => UNKNOWN,
  )
  return {
    version: line(info, "redis_version") ?? UNKNOWN,
    maxmemoryPolicy: line(info, "maxmemory_policy") ?? UNKNOWN,
    durability: durabilityOf(line(info, "aof_enabled"), fsync),
    usedBytes: Number(line(info, "used_memory") ?? 0),
    maxBytes: Number(line(info, "maxmemory") ?? 0),
    replicas:
      info === "" && waits && refusal === undefined
        ? Number(await redis.call("WAIT", MAX_REPLICAS, 1))
        : (info.match(/^slave\d+:.*state=online/gm)?.length ?? 0),
    refusal,
  }
}

/** `fsync` says nothing about a server that may have no append-only file. */
function durabilityOf(aofEnabled: string | undefined, fsync: string | undefined): ServerState["durability"] {
  if (aofEnabled === "0") return "none"
  return aofEnabled === "1" ? (fsync as ServerState["durability"]) : UNKNOWN
}

/** Runs the probe script and returns the error of Redis, if there is one. Fails if there is no connection. */
async function refusalOf(
  redis: Redis,
  key: string,
  waits: boolean,
  missing: Set<string>,
): Promise<Error | undefined> {
  const calls = key === SCHEMA ? probeCalls() : []
  const keys = key === SCHEMA ? [SCHEMA, MISSING] : [key, key]
  try {
    const errors = await tryCommand(redis, missing, "EVAL", PROBE.text, keys.length, ...keys, ...calls)
    if (errors !== undefined) await tryCommand(redis, missing, "EVALSHA", PROBE.sha, keys.length, ...keys)
    if (waits) await tryCommand(redis, missing, "WAIT", 0, 0)
    for (const [i, error] of ((errors ?? []) as string[]).entries()) {
      const right = missingRight(calls[i]!, error)
      if (right !== undefined) missing.add(right)
    }
  } catch (error) {
    if ((error as Error).name !== "ReplyError") throw error
    return error as Error
  }
  return missing.size > 0 ? new MissingRights(lackOfRights(missing)) : undefined
}

/** A key in the slots of this master, given which server has a key. */
export function keyOn<S>(server: S, of: (key: string) => S | undefined): string {
  if (of(SCHEMA) === server) return SCHEMA
  for (let n = 0; ; n++) if (of(probeKey(n)) === server) return probeKey(n)
}
