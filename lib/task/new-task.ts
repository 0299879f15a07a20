/** A task from the members of a submit. */
import type { Backoff } from "../wire/fields.ts"
import type { TaskDefaults } from "../wire/queue-settings.ts"
import type { Submit } from "../wire/submitting.ts"
import { DEFAULT_PRIORITY } from "./policy.ts"
import type { NewTask, Task } from "./task.ts"

/** The values of members that neither the submit nor the queue sets. */
export interface BrokerDefaults {
  maxRetries: number
  maxCrashes: number
  visibilityTimeoutMs: number
  backoff?: Backoff | undefined
}

/** `payload`: JSON text. `memberJson`: further members for the worker, as JSON without braces. `own`: of the queue. */
export function newTask(
  queue: string,
  submit: Omit<Submit, "payload">,
  payload: string,
  memberJson: string,
  own: TaskDefaults | undefined,
  defaults: BrokerDefaults,
): NewTask {
  const task: NewTask = {
    queue,
    type: submit.type,
    payload,
    when: submit.delay_ms === 0 ? undefined : whenOf(submit),
    expiresInMs: submit.expires_in_ms,
    memberJson,
    group: submit.group,
    redact: submit.redact,
    policy: {
      priority: submit.priority ?? own?.priority ?? DEFAULT_PRIORITY,
      maxRetries: submit.max_retries ?? own?.max_retries ?? defaults.maxRetries,
      maxCrashes: submit.max_crashes ?? own?.max_crashes ?? defaults.maxCrashes,
      timeoutMs: submit.timeout_ms ?? own?.timeout_ms ?? defaults.visibilityTimeoutMs,
      maxRuntimeMs: submit.max_runtime_ms ?? own?.max_runtime_ms ?? 0,
      resultTtlMs: submit.result_ttl_ms ?? own?.result_ttl_ms ?? -1,
      backoff: submit.backoff ?? own?.backoff ?? defaults.backoff,
    },
  }
  if (submit.unique_key !== undefined)
    task.unique = { key: submit.unique_key, replace: submit.on_duplicate === "replace" }
  return task
}

/** When a task becomes ready, as the scripts read it; undefined: the request does not say. */
export function whenOf({ run_at, delay_ms }: Pick<Submit, "run_at" | "delay_ms">): string | undefined {
  if (run_at !== undefined) return String(run_at)
  return delay_ms === undefined ? undefined : `+${delay_ms}`
}

/** What differs in a new task like one that has ended. The payload is JSON text; absent: that of the original. */
interface Differences {
  payload?: string | undefined
  when?: string | undefined
  traceparent?: string | undefined
  tracestate?: string | undefined
}

/**
 * A new task like one that has ended: its queue, type, policy, group and labels, and `redact`, but neither its unique key nor
 * its schedule. It names the original.
 */
export function taskLike(original: Task, differences: Differences = {}): NewTask {
  const { id, queue, type, policy, group, redact, createdAt } = original
  const { payload = original.payload, when, traceparent, tracestate } = differences
  const { meta } = JSON.parse(`{${original.memberJson ?? ""}}`)
  return {
    queue,
    type,
    policy,
    group,
    redact,
    payload,
    when,
    traceparent,
    expiresInMs: policy.expiresAt ? policy.expiresAt - createdAt : undefined,
    memberJson: JSON.stringify({ meta, traceparent, tracestate, again_of: id }).slice(1, -1),
  }
}
