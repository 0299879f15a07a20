/** Reads single environment variables, checks them and collects what is invalid, so that all faults are reported at once. */
import { readFileSync } from "node:fs"
import { NAME_PATTERN } from "../wire/fields.ts"
import type { Variable } from "./variables.ts"

export type Env = Readonly<Record<string, string | undefined>>

/** Invalid environment variables, one line per variable. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(`The configuration cannot be used:\n${problems.map(problem => `  ${problem}`).join("\n")}`)
    this.name = "ConfigError"
  }
}

export const QUEUE_NAME = new RegExp(NAME_PATTERN)

/**
 * What Kubernetes puts into every pod for a Service named `redis`: REDIS_PORT=tcp://10.96.0.12:6379. Such a value was not
 * meant for us, also if the Service has the name of one of our variables.
 */
const SERVICE_LINK = /^(tcp|udp|sctp):\/\//i

/** Called for each variable that is read, possibly more than once, with its default. */
export type OnRead = (name: Variable, fallback?: string | number) => void

export class Reader {
  readonly problems: string[] = []
  constructor(
    private readonly env: Env,
    private readonly onRead: OnRead,
  ) {}

  /** An empty variable counts as unset, because Compose and shells pass empty ones. So does a port that is a service link. */
  text(name: Variable, fallback: string): string
  text(name: Variable): string | undefined
  text(name: Variable, fallback?: string): string | undefined {
    this.onRead(name, fallback)
    const value = this.env[name]
    if (value === undefined || value === "") return fallback
    return name.endsWith("PORT") && SERVICE_LINK.test(value) ? fallback : value
  }

  /** Other variables may leave this one without use: then its value does not matter. */
  integer(name: Variable, fallback: number, min: number, max: number, isUsed = true): number {
    this.onRead(name, fallback)
    const value = this.text(name)
    if (value === undefined || !isUsed) return fallback
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= min && number <= max) return number
    return this.fault(`${name} must be a whole number from ${min} to ${max}`, fallback)
  }

  word<T extends string>(name: Variable, words: readonly T[], fallback: T): T {
    this.onRead(name, fallback)
    const value = this.text(name)
    if (value === undefined) return fallback
    if ((words as readonly string[]).includes(value)) return value as T
    return this.fault(`${name} must be one of ${words.join(", ")}`, fallback)
  }

  url(name: Variable, protocols: readonly string[], fallback: string): string
  url(name: Variable, protocols: readonly string[]): string | undefined
  url(name: Variable, protocols: readonly string[], fallback?: string): string | undefined {
    this.onRead(name, fallback)
    const value = this.text(name)
    if (value === undefined) return fallback
    if (URL.canParse(value) && protocols.includes(new URL(value).protocol)) return value
    return this.fault(
      `${name} must be an address that begins with ${protocols.map(p => `${p}//`).join(" or ")}`,
      fallback,
    )
  }

  /** `host:port,…`, possibly with redis:// or rediss://; the default port is `port`. */
  nodes(name: Variable, port: number): HostPort[] | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const schemes = new Set(Array.from(value.matchAll(/\b(rediss?):\/\//g), ([, scheme]) => scheme))
    if (schemes.size > 1)
      return this.fault(`${name} must use either redis:// or rediss:// (TLS) for all addresses`, undefined)
    const nodes = value.split(",").map(node => parseHostPort(node.replace(/^\s*rediss?:\/\//, ""), port))
    if (nodes.includes(undefined))
      return this.fault(
        `${name} must be addresses of the form host:port, or rediss://host:port (TLS), separated by commas; set the user and the password in REDIS_USERNAME and REDIS_PASSWORD`,
        undefined,
      )
    return nodes as HostPort[]
  }

  /** `announced=reachable,…`, each as `host:port`. */
  addressMap(name: Variable): AddressMap | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const pairs = value.split(",").map(pair => pair.split("=").map(address => parseHostPort(address)))
    if (pairs.some(pair => pair.length !== 2 || pair.includes(undefined)))
      return this.fault(
        `${name} must be pairs of addresses, announced=reachable, as in 10.0.0.5:6379=redis.example:7001, separated by commas`,
        undefined,
      )
    return Object.fromEntries(
      (pairs as HostPort[][]).map(([announced, reachable]) => [addressOf(announced!), reachable!]),
    )
  }

  /** The content of the file that the variable names. */
  file(name: Variable): string | undefined {
    const path = this.text(name)
    if (path === undefined) return undefined
    try {
      return readFileSync(path, "utf8").replace(/^\uFEFF/, "")
    } catch (error) {
      return this.fault(
        `the file that ${name} names cannot be read: ${(error as NodeJS.ErrnoException).code}`,
        undefined,
      )
    }
  }

  token(): string | undefined {
    const value = this.text("API_SECRET_TOKEN")
    if (value === undefined || /^[\x21-\x7e]+$/.test(value)) return value
    return this.fault(
      "API_SECRET_TOKEN must be printable ASCII without spaces, because it is sent in a header",
      undefined,
    )
  }

  /** The variable, or the content of the file that `<name>_FILE` names, which is how secrets are mounted. */
  textOrFile(name: "API_TOKENS"): string | undefined {
    const text = this.text(name)
    if (this.text(`${name}_FILE`) === undefined) return text
    if (text !== undefined)
      return this.fault(`${name} and ${name}_FILE are both set: set only one of them`, undefined)
    return this.file(`${name}_FILE`)
  }

  fault<T>(problem: string, fallback: T): T {
    this.problems.push(problem)
    return fallback
  }

  finish<T extends object>(config: T): Readonly<T> {
    if (this.problems.length > 0) throw new ConfigError(this.problems)
    return Object.freeze(config)
  }
}

export interface HostPort {
  host: string
  port: number
}

/** What servers announce, as `host:port`, and where they can be reached. */
export type AddressMap = Readonly<Record<string, HostPort>>

export const addressOf = ({ host, port }: HostPort): string => `${host}:${port}`

/** Without a default port the text must have one. */
function parseHostPort(text: string, defaultPort?: number): HostPort | undefined {
  const [, host, given] = /^(\[[\da-fA-F:]+\]|[\w.-]+)(?::(\d{1,5}))?$/.exec(text.trim()) ?? []
  const port = Number(given ?? defaultPort)
  return host !== undefined && port > 0 && port <= 65_535
    ? { host: host.replace(/[[\]]/g, ""), port }
    : undefined
}
