/**
 * Lease tokens. A lease is `attempt.token`; the token is secret and contains the time at which the lease was made.
 */
import { randomBytes } from "node:crypto"

const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
const VALUE_OF = new Uint8Array(128)
for (let i = 0; i < 64; i++) VALUE_OF[BASE64URL.charCodeAt(i)] = i
export const TOKEN_CHARACTERS = 22
const TIME_CHARACTERS = 5
/** A token stores its time in ms, modulo 12 days. */
const TIME_MASK = 2 ** (6 * TIME_CHARACTERS) - 1

/**
 * The tokens of `count` leases, concatenated: 22 characters of base64url each, of which 5 encode the time and 17 are
 * random (102 bits). Any broker can compute an attempt's duration from its lease, so no broker has to remember it.
 */
export function newTokens(count: number, now = Date.now()): string {
  const random = randomBytes(Math.ceil(count * 16.5)).toString("base64url")
  const tokens = Buffer.from(random, "latin1").subarray(0, count * TOKEN_CHARACTERS)
  // The time overwrites random bytes in place: joining strings takes several times as long.
  const time = now & TIME_MASK
  for (let at = 0; at < tokens.length; at += TOKEN_CHARACTERS)
    for (let i = 0; i < TIME_CHARACTERS; i++)
      tokens[at + i] = BASE64URL.charCodeAt((time >>> (6 * (TIME_CHARACTERS - 1 - i))) & 63)
  return tokens.toString("latin1")
}

/** The token of a lease. */
export const tokenOf = (lease: string): string => lease.slice(lease.indexOf(".") + 1)

/** The tokens of these leases, concatenated. */
export const tokensOf = (held: readonly { lease: string }[]): string =>
  held.map(({ lease }) => tokenOf(lease)).join("")

/** The age of a lease by the brokers' clocks; undefined if the lease appears to be from the future. */
export function leaseAgeMs(lease: string, now = Date.now()): number | undefined {
  const from = lease.indexOf(".") + 1
  let time = 0
  for (let i = from; i < from + TIME_CHARACTERS; i++) time = time * 64 + VALUE_OF[lease.charCodeAt(i)]!
  const age = (now - time) & TIME_MASK
  return age > TIME_MASK / 2 ? undefined : age
}
