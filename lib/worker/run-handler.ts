/** Runs a handler and turns its result or error into the outcome of an ack. Never rejects. */
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
const MAX_CAUSE_LEVELS = 5
const MAX_CAUSES = 10
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

/** Handlers may throw anything, even values that throw again when they are formatted. */
export function formatError(thrown: unknown, frames = MAX_FRAMES): string {
  const seen = new Set<unknown>()
  return [formatOne(thrown, frames), ...formatCauses(thrown, 1, seen)].join("\n")
}

function formatOne(thrown: unknown, frames: number): string {
  try {
    if (!(thrown instanceof Error))
      return `thrown: ${typeof thrown === "string" ? thrown : (JSON.stringify(thrown) ?? String(thrown))}`
    const stack = (thrown.stack ?? "").split("\n").filter(line => /^\s+at /.test(line))
    return [`${thrown.name}: ${thrown.message}`, ...stack.slice(0, frames)].join("\n")
  } catch {
    return "the handler threw something that cannot be shown"
  }
}

/** The errors of an AggregateError and the chain of causes, without frames. `seen` ends cycles. */
function formatCauses(thrown: unknown, level: number, seen: Set<unknown>): string[] {
  try {
    if (!(thrown instanceof Error) || level > MAX_CAUSE_LEVELS) return []
    seen.add(thrown)
    const lines: string[] = []
    const add = (label: string, inner: unknown) => {
      if (seen.has(inner) || seen.size > MAX_CAUSES) return
      seen.add(inner)
      lines.push(`${label} ${formatOne(inner, 0)}`, ...formatCauses(inner, level + 1, seen))
    }
    const { errors } = thrown as { errors?: unknown }
    if (Array.isArray(errors))
      for (const inner of errors.slice(0, MAX_CAUSES)) add("one of its errors:", inner)
    if (thrown.cause !== undefined) add("caused by", thrown.cause)
    return lines
  } catch {
    return []
  }
}
