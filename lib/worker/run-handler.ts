/** Runs a handler and turns its result or error into the outcome of an ack. Never rejects. */
import { fileURLToPath } from "node:url"
import { isNativeError } from "node:util/types"
import {
  Fatal,
  type Handler,
  type HandlerContext,
  type Handlers,
  type Outcome,
  RetryIn,
} from "../handlers.ts"
import type { LeasedTask } from "../wire/working.ts"

const MAX_ERROR_LENGTH = 4_000
const MAX_FRAMES = 5
const FRAME = /^\s+at /m
/** The directory of the worker's own files. Paths in frames may be URLs. */
const OWN_DIRECTORY = fileURLToPath(new URL(".", import.meta.url))
const MAX_CAUSE_LEVELS = 5
const MAX_CAUSES = 10
const MAX_CAUSE_LENGTH = 500
/** So much of an error is kept for its causes, however long its own message is. */
const MAX_CAUSES_LENGTH = 2_000
const MAX_TYPES = 50
const FIRST_RELEASE_MS = 1_000
const MAX_RELEASE_MS = 60_000

export async function runHandler(
  handlers: Handlers,
  payload: unknown,
  context: HandlerContext,
): Promise<Outcome> {
  const handler = handlers.get(context.task.type)
  if (handler === undefined) return unknownType(context.task, handlers)
  try {
    return doneOutcome(await (handler as Handler)(payload, context))
  } catch (thrown) {
    const outcome = failedOutcome(formatError(thrown))
    if (thrown instanceof Fatal) return { ...outcome, retry: false }
    if (thrown instanceof RetryIn) return { ...outcome, retry_in_ms: thrown.ms }
    return outcome
  }
}

/** Copies the result as JSON, so that the handler cannot change it later and a bad value cannot break the whole batch. */
function doneOutcome(result: unknown): Outcome {
  if (result === undefined) return { status: "done" }
  try {
    const text = JSON.stringify(result)
    if (text === undefined)
      return failedOutcome(`the handler's result cannot be written as JSON: it is a ${typeof result}`)
    return { status: "done", result: JSON.parse(text) }
  } catch (error) {
    return failedOutcome(`the handler's result cannot be written as JSON: ${formatError(error, 0)}`)
  }
}

const errorText = (error: string): string => error.slice(0, MAX_ERROR_LENGTH).toWellFormed()

const failedOutcome = (error: string): Outcome => ({ status: "failed", error: errorText(error) })

/**
 * During a deployment, workers that know the type may be starting. So the task is released, with a pause that grows with
 * each release. If no worker knows the type for about an hour and a half, the task is dead after 100 releases.
 */
function unknownType({ type, releases = 0 }: LeasedTask, handlers: Handlers): Outcome {
  const known = [...handlers.keys()]
  const more = known.length > MAX_TYPES ? ` and ${known.length - MAX_TYPES} more` : ""
  const error = `this worker has no handler for type ${JSON.stringify(type)}; it knows ${known.slice(0, MAX_TYPES).join(", ")}${more}`
  return {
    status: "released",
    error: errorText(error),
    retry_in_ms: Math.min(FIRST_RELEASE_MS * 2 ** releases, MAX_RELEASE_MS),
  }
}

/**
 * An error, its causes, and its frames. The causes come before the frames, because /dlq/groups compares the beginning.
 * Handlers may throw anything, even values that throw again when they are formatted.
 */
export function formatError(thrown: unknown, frames = MAX_FRAMES): string {
  const causes = formatCauses(thrown, 1, new Set()).join("\n").slice(0, MAX_CAUSES_LENGTH)
  const error = formatOne(thrown, MAX_ERROR_LENGTH - (causes === "" ? 0 : causes.length + 1))
  const parts = [error, causes, ...framesOf(thrown).slice(0, frames)]
  return errorText(parts.filter(part => part !== "").join("\n"))
}

function formatOne(thrown: unknown, maxLength: number): string {
  try {
    if (!isError(thrown)) {
      const text = typeof thrown === "string" ? thrown : (JSON.stringify(thrown) ?? String(thrown))
      return `thrown: ${text}`.slice(0, maxLength)
    }
    const { name, message, code } = thrown as Error & { code?: unknown }
    // Errors of sockets may have only a code.
    return `${name}: ${message || (typeof code === "string" ? code : "")}`.slice(0, maxLength)
  } catch {
    return "the handler threw something that cannot be shown"
  }
}

/** The frames above the worker's own; none if the message has frames already. */
function framesOf(thrown: unknown): string[] {
  try {
    if (!isError(thrown) || FRAME.test(thrown.message)) return []
    const frames = (thrown.stack ?? "").split("\n").filter(line => FRAME.test(line))
    const own = frames.findIndex(frame => frame.includes(OWN_DIRECTORY))
    return own < 0 ? frames : frames.slice(0, own)
  } catch {
    return []
  }
}

/** Also those of another realm, as node:vm makes them. */
const isError = (thrown: unknown): thrown is Error => thrown instanceof Error || isNativeError(thrown)

/**
 * The chain of causes, the errors of an AggregateError and the like, and both errors of a SuppressedError, without
 * frames. `seen` ends cycles.
 */
function formatCauses(thrown: unknown, level: number, seen: Set<unknown>): string[] {
  if (typeof thrown !== "object" || thrown === null || level > MAX_CAUSE_LEVELS) return []
  seen.add(thrown)
  const lines: string[] = []
  const add = (label: string, inner: unknown) => {
    if (inner === undefined || seen.has(inner) || seen.size > MAX_CAUSES) return
    seen.add(inner)
    lines.push(`${label} ${formatOne(inner, MAX_CAUSE_LENGTH)}`, ...formatCauses(inner, level + 1, seen))
  }
  try {
    const { errors, cause } = thrown as { errors?: unknown; cause?: unknown }
    // Some libraries have an object or a set of errors instead of an array.
    if (typeof errors === "object" && errors !== null) {
      const list = Symbol.iterator in errors ? [...(errors as Iterable<unknown>)] : Object.values(errors)
      for (const inner of list.slice(0, MAX_CAUSES)) add("one of its errors:", inner)
    }
    add("caused by", cause)
    // Not `instanceof SuppressedError`: Node 20 has no such class.
    if ("suppressed" in thrown && "error" in thrown) {
      add("caused by", thrown.error)
      add("suppressed:", thrown.suppressed)
    }
  } catch {
    // A getter that throws hides only what would have followed.
  }
  return lines
}
