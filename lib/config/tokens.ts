import { ROLES, type Role } from "../wire/fields.ts"

export { ROLES, type Role }

/** What is known of a token. Not the token: who reads our memory or the configuration cannot present it. */
export interface ApiToken {
  name: string
  roles: readonly Role[]
  /** The only queues that it is for; undefined: all. */
  queues: readonly string[] | undefined
  /** SHA-256, as hex. */
  hash: string
}

export const hashOf = (token: string): string => Bun.SHA256.hash(token, "hex")
