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

  /** `host:port,…`; the default port is `port`. */
  nodes(name: Variable, port: number): HostPort[] | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    if (/\brediss:/i.test(value))
      return this.fault(
        `${name} must be addresses of the form host:port: TLS (rediss://) to Sentinels or a Cluster is not supported yet`,
        undefined,
      )
    const nodes = value
      .split(",")
      .map(node => /^(\[[\da-fA-F:]+\]|[\w.-]+)(?::(\d{1,5}))?$/.exec(node.trim()))
    if (nodes.some(node => node === null || Number(node[2] ?? port) > 65_535 || node[2] === "0"))
      return this.fault(`${name} must be addresses of the form host:port, separated by commas`, undefined)
    return nodes.map(node => ({ host: node![1]!.replace(/[[\]]/g, ""), port: Number(node![2] ?? port) }))
  }

  /** A variable of other programs that must not be ignored if it is set to something else than false. */
  unsupported(name: string, problem: string): void {
    if (!["", "0", "false", "no", "off"].includes(this.env[name]?.toLowerCase() ?? ""))
      this.fault(problem, undefined)
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
    const path = this.text(`${name}_FILE`)
    if (path === undefined) return text
    if (text !== undefined)
      return this.fault(`${name} and ${name}_FILE are both set: set only one of them`, undefined)
    try {
      return readFileSync(path, "utf8").replace(/^\uFEFF/, "")
    } catch (error) {
      return this.fault(`${name}_FILE cannot be read: ${(error as NodeJS.ErrnoException).code}`, undefined)
    }
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
