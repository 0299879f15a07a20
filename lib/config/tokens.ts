/** API tokens: their roles, their queues, and how API_TOKENS is read. */
import { ROLES, type Role } from "../wire/fields.ts"
import { QUEUE_NAME, type Reader } from "./reader.ts"

export { ROLES, type Role }

/** An API token. It holds a hash, so that memory and configuration do not reveal the token. */
export interface ApiToken {
  name: string
  roles: readonly Role[]
  /** The queues that the token is bound to; undefined: all queues. */
  queues: readonly string[] | undefined
  /** SHA-256, as hex. */
  hash: string
}

export const hashOf = (token: string): string => Bun.SHA256.hash(token, "hex")

/** Splits at the first colons, so that the token may contain colons. */
const TOKEN_ENTRY = /^([A-Za-z0-9._-]{1,64}):([a-z+]+)(?:@([A-Za-z0-9._+-]+))?:([\x21-\x7e]+)$/

const MIN_TOKEN_LENGTH = 16

/**
 * API_TOKENS: entries `name:role+role@queue+queue:token`, separated by commas or white space. A line that begins with #
 * is a comment. Error messages name an entry by its position, because any part of it may be the token. undefined: unset.
 */
export function readTokens(read: Reader, apiToken: string | undefined): ApiToken[] | undefined {
  const text = read.textOrFile("API_TOKENS")
  if (text === undefined) return undefined
  const entries = text
    .replace(/^[ \t]*#.*$/gm, "")
    .split(/[\s,]+/)
    .filter(entry => entry !== "")
  const faults = entries.length > 0 ? [] : ["it contains no entry"]
  const places = new Map(apiToken === undefined ? [] : [[hashOf(apiToken), "API_SECRET_TOKEN"]])
  const tokens = entries.flatMap((entry, i): ApiToken[] => {
    const place = `entry ${i + 1}`
    const fault = (what: string) => {
      faults.push(`${place} ${what}`)
      return []
    }
    const [, name, roleList, queueList, secret] = TOKEN_ENTRY.exec(entry) ?? []
    if (name === undefined) return fault("does not have this form")
    const roles = roleList!.split("+")
    if (!roles.every(role => (ROLES as readonly string[]).includes(role)))
      return fault(`has a role other than ${ROLES.join(", ")}`)
    const queues = queueList?.split("+")
    if (queues?.some(queue => !QUEUE_NAME.test(queue)))
      return fault(
        'has an invalid queue name: it must have 1 to 64 characters from A-Z a-z 0-9 . _ -, and must not be "." or ".."',
      )
    const hash = /^sha256:([\da-f]{64})$/i.exec(secret!)?.[1]?.toLowerCase()
    if (hash === undefined && (secret!.startsWith("sha256:") || secret!.length < MIN_TOKEN_LENGTH))
      return fault(
        `must end in a token of at least ${MIN_TOKEN_LENGTH} characters, or in sha256: and 64 hex digits`,
      )
    const token = { name, roles: roles as Role[], queues, hash: hash ?? hashOf(secret!) }
    const same = places.get(token.hash)
    if (same !== undefined) return fault(`has the same token as ${same}`)
    places.set(token.hash, place)
    return [token]
  })
  if (faults.length === 0) return tokens
  return read.fault(
    `API_TOKENS must contain entries name:role+role:token or name:role+role@queue+queue:token, separated by commas: ${faults.join("; ")}`,
    [],
  )
}
