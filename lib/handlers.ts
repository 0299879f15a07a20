/** Handlers: one function per task type, either built in or from the module that HANDLERS names. */
import { resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { pathToFileURL } from "node:url"
import { ConfigError } from "./config/reader.ts"
import type { Ack, LeasedTask } from "./wire/working.ts"

/** `Checkpoint` is the type of this handler's checkpoints. Nothing checks that an earlier version stored the same type. */
export interface HandlerContext<Checkpoint = unknown> {
  /** `checkpoint` is the last one that an earlier attempt stored. */
  task: LeasedTask & { checkpoint?: Checkpoint }
  /**
   * Fires when the handler should stop. Its reason is a LeaseLost (another worker may have the task), a TaskCancelled, or
   * a WorkerStopping. The result or error of the handler is then ignored.
   */
  signal: AbortSignal
  /** The trace context for the handler's own calls: that of its span if tracing is on, otherwise the task's. */
  traceparent: string | undefined
  /**
   * Reports progress: any JSON of up to 1,024 bytes. /status shows it within about a second. Anything else is not stored:
   * the worker logs a warning, and the task goes on.
   */
  progress(value: unknown): void
  /** Stores what the next attempt needs to continue: any JSON of up to 16,384 bytes. Resolves when it is stored. */
  checkpoint(value: Checkpoint): Promise<void>
  /** Writes a line to the worker's log. /status shows the newest 20 lines, cut to 500 characters each. */
  log(message: string): void
}

/** A handler throws this to fail the task without another attempt. */
export class Fatal extends Error {
  override readonly name = "Fatal"
}

const MAX_RETRY_IN_MS = 30 * 86_400_000

/** A handler throws this to fail the attempt. The next one, if any is left, starts in `ms`, whatever the backoff. */
export class RetryIn extends Error {
  override readonly name = "RetryIn"
  readonly ms: number

  constructor(ms: number, message = `try again in ${ms} ms`, options?: ErrorOptions) {
    super(message, options)
    this.ms = ms > 0 ? Math.min(Math.round(ms), MAX_RETRY_IN_MS) : 0
  }
}

/** Its return value becomes the task's result, and what it throws the task's error. It may run more than once for one task. */
export type Handler<Payload = unknown, Checkpoint = unknown> = (
  payload: Payload,
  context: HandlerContext<Checkpoint>,
) => Promise<unknown> | unknown
/** A Map, so that a task type such as `constructor` finds no handler. */
export type Handlers = ReadonlyMap<string, Handler<never, never>>

/** Handlers for trying the system out. */
export const BUILT_IN: Readonly<Record<string, Handler>> = {
  echo: payload => payload,

  add: payload => {
    if (!Array.isArray(payload) || !payload.every(Number.isFinite))
      throw new TypeError("add takes an array of numbers")
    return payload.reduce<number>((sum, number) => sum + number, 0)
  },

  sleep: async (payload, { signal }) => {
    const ms = member(payload, "ms")
    if (typeof ms !== "number" || !(ms >= 0 && ms <= 86_400_000))
      throw new TypeError('sleep takes {"ms": number} with at most 86400000 ms (one day)')
    await sleep(ms, undefined, { signal })
    return { slept_ms: ms }
  },

  fail: payload => {
    throw new Error(String(member(payload, "message") ?? "failed as requested"))
  },
}

function member(payload: unknown, name: string): unknown {
  return typeof payload === "object" && payload !== null
    ? (payload as Record<string, unknown>)[name]
    : undefined
}

/** Loads the built-in handlers and those of the user's module, which take precedence. */
export async function loadHandlers(path: string | undefined): Promise<Handlers> {
  const handlers = new Map(Object.entries(BUILT_IN))
  if (path === undefined) return handlers
  for (const [type, handler] of readHandlers(await importModule(path), path)) handlers.set(type, handler)
  return handlers
}

const SLOW_IMPORT_MS = 5_000
const MAX_BUILD_MESSAGES = 3

async function importModule(path: string): Promise<Record<string, unknown>> {
  // A top-level await may never end, and nothing else would be logged. With no timer at all, Bun 1.4.5 waits for it in a
  // loop that takes a whole core, so the timer repeats.
  let isLogged = false
  const slow = setInterval(() => {
    if (!isLogged)
      console.error(
        `HANDLERS=${path} is still loading after ${SLOW_IMPORT_MS / 1_000} s: a top-level await in it, or in a module that it imports, has not ended`,
      )
    isLogged = true
  }, SLOW_IMPORT_MS)
  try {
    return await import(pathToFileURL(resolve(path)).href)
  } catch (error) {
    throw new ConfigError([`HANDLERS=${path} could not be loaded: ${describeImportError(error)}`])
  } finally {
    clearInterval(slow)
  }
}

/** File, line and message of the first faults, or an exception with the first frame that has a file. */
function describeImportError(error: unknown): string {
  const faults = error instanceof AggregateError ? error.errors : [error]
  const shown = faults.slice(0, MAX_BUILD_MESSAGES).map(describeFault)
  if (faults.length > shown.length) shown.push(`and ${faults.length - shown.length} more`)
  return shown.join("\n  ")
}

function describeFault(fault: unknown): string {
  if (typeof fault !== "object" || fault === null) return String(fault)
  const { message, position, stack } = fault as {
    message?: string
    position?: { file?: string; line?: number; column?: number } | null
    stack?: string
  }
  if (position?.file) return `${position.file}:${position.line}:${position.column}: ${message}`
  const frame = stack?.split("\n").find(line => /^\s+at .*\/.*:\d+/.test(line))
  return frame === undefined ? `${message ?? fault}` : `${message ?? fault}, ${frame.trim()}`
}

function readHandlers(module: Record<string, unknown>, path: string): [string, Handler][] {
  const isMap = (value: unknown): value is object => typeof value === "object" && value !== null
  const found = [module.default, module.handlers].find(isMap)
  const wrong = (what: string) =>
    new ConfigError([
      `HANDLERS=${path} ${what}: its default export, or an export named handlers, must map types to functions, ` +
        "as in: export default { greet: payload => ({ hello: payload }) }",
    ])
  if (found === undefined) throw wrong("exports no handlers")
  const entries = found instanceof Map ? [...found] : Object.entries(found)
  if (entries.length === 0) throw wrong("exports no handlers")
  for (const [type, handler] of entries)
    if (typeof type !== "string" || typeof handler !== "function")
      throw wrong(`has something other than a function for ${JSON.stringify(String(type))}`)
  return entries
}

export type Outcome = Pick<Ack, "status" | "result" | "error" | "retry" | "retry_in_ms">
