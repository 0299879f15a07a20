/** One call of a `tq` command: its arguments and options, the client, and what it prints. */
import type { Client } from "../client.ts"

/** An option of a command. With `value` it takes one, of which this is the name in the help. */
export interface Option {
  value?: string
  /** May be given several times. */
  multiple?: true
  meaning: string
}

/** A command of `tq`. */
export interface Command {
  /** What follows the name: `<required>`, `[optional]`, and `<repeated>...` at the end. */
  takes: string
  about: string
  options?: Readonly<Record<string, Option>>
  /** Each follows `bun run tq`. */
  examples: readonly string[]
  run(call: Call): Promise<Printed>
}

export type Members = Readonly<Record<string, unknown>>

/** What a command prints. */
export interface Printed {
  /** For people. Untrusted text is escaped when it is printed. */
  lines: readonly string[]
  /** With --json instead of `lines`; by default the last answer of the broker. */
  json?: unknown
  /** Why the command ends with exit code 1. */
  failure?: string | undefined
}

/** The arguments are wrong: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError"
}

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `90m`: exact, and as a command reads it. */
export function formatInterval(ms: number): string {
  const [name, unit] = Object.entries(UNIT_MS).findLast(([, unit]) => ms % unit === 0)!
  return `${ms / unit}${name}`
}

export class Call {
  constructor(
    readonly client: Client,
    readonly args: readonly string[],
    readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>,
    /** Aborts at Ctrl-C. */
    readonly stop: AbortSignal,
    /** The text of the last answer of the broker. */
    private readonly answerText: () => string,
    /** Prints lines before the command ends. */
    readonly print: (printed: Printed) => void,
    /** The width of the terminal. */
    readonly columns: number,
    /** Prints a line on stderr. */
    readonly warn: (line: string) => void,
  ) {}

  /** The last answer of the broker, with all digits of its numbers. */
  answer(): Members {
    return parseExactly(this.answerText()) as Members
  }

  /** A required argument. */
  arg(index: number): string {
    return this.args[index]!
  }

  get options(): { signal: AbortSignal } {
    return { signal: this.stop }
  }

  flag(name: string): boolean {
    return this.values[name] === true
  }

  text(name: string): string | undefined {
    const value = this.values[name]
    return typeof value === "string" ? value : undefined
  }

  texts(name: string): string[] {
    return [this.values[name] ?? []].flat().map(String)
  }

  integer(name: string): number | undefined {
    const text = this.text(name)
    if (text !== undefined && !/^\d{1,15}$/.test(text))
      throw new UsageError(`--${name} takes a whole number, not ${JSON.stringify(text)}`)
    return text === undefined ? undefined : Number(text)
  }

  durationMs(name: string): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const ms = readDurationMs(text)
    if (ms === undefined)
      throw new UsageError(
        `--${name} takes a time such as 500ms, 10s, 5m, 2h or 1d, not ${JSON.stringify(text)}`,
      )
    return ms
  }

  /** One of these words. */
  word<T extends string>(name: string, words: readonly T[]): T | undefined {
    return this.text(name) === undefined ? undefined : this.words(name, words)[0]
  }

  words<T extends string>(name: string, words: readonly T[]): T[] {
    const given = this.texts(name).flatMap(text => text.split(","))
    const wrong = given.find(text => !(words as readonly string[]).includes(text))
    if (wrong !== undefined)
      throw new UsageError(`--${name} takes ${words.join(", ")}, not ${JSON.stringify(wrong)}`)
    return given as T[]
  }
}

/** The ms of a text such as 5m; undefined if it is not a time. */
export function readDurationMs(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text) ?? []
  return number === undefined ? undefined : Math.round(Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS])
}

/** Labels as `name=value`. */
export function readMeta(labels: readonly string[]): Record<string, string> | undefined {
  if (labels.length === 0) return undefined
  return Object.fromEntries(
    labels.map(label => {
      const at = label.indexOf("=")
      if (at < 1) throw new UsageError(`--meta takes name=value, not ${JSON.stringify(label)}`)
      return [label.slice(0, at), label.slice(at + 1)]
    }),
  )
}

/** A payload as JSON; `-` reads it from stdin. */
export async function readPayload(text: string): Promise<unknown> {
  const source = text === "-" ? await Bun.stdin.text() : text
  try {
    return parseExactly(source)
  } catch (error) {
    const hint = text === "-" ? "" : `. A text needs quotes inside: '${JSON.stringify(text)}'`
    throw new UsageError(`the payload is not JSON: ${(error as Error).message}${hint}`)
  }
}

/** The object without the members that are undefined. */
export function defined<T extends object>(given: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as never
}

/** Parses JSON so that JSON.stringify writes each number as it was: 12345678901234567890 stays what it is. */
export function parseExactly(text: string): unknown {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
  const keepNumber = (_name: string, value: unknown, context?: { source: string }) =>
    typeof value === "number" && context !== undefined ? rawJSON(context.source) : value
  return JSON.parse(text, keepNumber)
}
