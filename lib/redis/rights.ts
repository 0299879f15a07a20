/** Finds the rights of the README's ACL line that a Redis user lacks, by trying every command that the broker needs without effect. */
import type { Redis } from "ioredis"
import { MISSING, PROBE_CHANNEL, SCHEMA } from "./keys.ts"

/**
 * Every command on keys that scripts and brokers use, except XADD, which only events and the trail of actions need, with arguments that
 * change nothing. SCHEMA holds a string, so commands for other types fail there; MISSING never exists.
 */
const CALLS: readonly string[] = [
  ...["GET", "EXISTS", "STRLEN", "MGET", "PTTL", "DEL", "UNLINK"].map(command => `${command} ${MISSING}`),
  ...["HGETALL", "HKEYS", "HLEN", "LLEN", "LPOP", "SCARD", "SMEMBERS", "ZCARD"].map(
    command => `${command} ${MISSING}`,
  ),
  ...[
    "HGET",
    "HMGET",
    "HEXISTS",
    "HDEL",
    "LPOS",
    "SMISMEMBER",
    "SREM",
    "ZSCORE",
    "ZMSCORE",
    "ZRANK",
    "ZREVRANK",
    "ZREM",
  ].map(command => `${command} ${MISSING} x`),
  ...["HSCAN", "SSCAN", "ZSCAN", "LINDEX"].map(command => `${command} ${MISSING} 0`),
  ...["LRANGE", "GETRANGE", "ZRANGE", "ZCOUNT", "ZREMRANGEBYRANK"].map(
    command => `${command} ${MISSING} 0 0`,
  ),
  `ZLEXCOUNT ${MISSING} - +`,
  `ZINCRBY ${SCHEMA} 0 x`,
  `LREM ${MISSING} 0 x`,
  `LSET ${MISSING} 0 x`,
  `SET ${MISSING} x XX`,
  `PEXPIRE ${MISSING} 1`,
  `ZADD ${MISSING} XX 0 x`,
  `XTRIM ${MISSING} MAXLEN 0`,
  `XRANGE ${MISSING} - + COUNT 1`,
  `XREVRANGE ${MISSING} + - COUNT 1`,
  `SETNX ${SCHEMA} x`,
  `MSETNX ${SCHEMA} x`,
  `MSET ${SCHEMA} x ${SCHEMA}`, // too few arguments
  ...["RPUSH", "LPUSH", "SADD"].map(command => `${command} ${SCHEMA} x`),
  ...["HSET", "HSETNX", "HINCRBY"].map(command => `${command} ${SCHEMA} x 0`),
  "SCAN 0 COUNT 1",
  "TIME",
]

/** The commands that CALLS tries, for the test that compares them with the scripts. */
export const PROBED_COMMANDS = CALLS.map(call => call.split(" ")[0]!)

/** What the probe script calls on the server that has SCHEMA. */
export const probeCalls = (channel = PROBE_CHANNEL): string[] => [...CALLS, `PUBLISH ${channel} 0`]

/** What an ACL must contain so that this call is accepted; undefined if its error is not about rights. */
export function missingRight(call: string, error: string): string | undefined {
  if (/unknown (redis )?command|run th(is|e) .*command|can't run/i.test(error))
    return `+${call.split(" ")[0]!.toLowerCase()}`
  if (!/permission|can't (access|publish)/i.test(error)) return undefined
  return /channel/i.test(error) ? "&tq:*" : "~tq:*"
}

/** The right that a command of the broker itself lacks. Scripts need a whole category. */
function rightOfCommand(name: string, error: Error): string | undefined {
  const right = missingRight(name, error.message)
  return right === "+eval" || right === "+evalsha" ? "+@scripting" : right
}

/** Runs a command. If the user lacks a right, adds it to `missing` instead of failing. */
export async function tryCommand(
  redis: Redis,
  missing: Set<string>,
  name: string,
  ...args: (string | number)[]
): Promise<unknown> {
  try {
    return await redis.call(name, ...args)
  } catch (error) {
    const right = rightOfCommand(name, error as Error)
    if (right === undefined) throw error
    missing.add(right)
    return undefined
  }
}

/** One sentence for the operator. */
export const lackOfRights = (missing: ReadonlySet<string>): string => {
  const rights = [...missing].join(" ")
  return `The Redis user lacks rights that the broker needs: ${rights}. Grant them (ACL SETUSER <user> ${rights}).`
}
