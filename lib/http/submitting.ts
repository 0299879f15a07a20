/** Submitting: POST /submit and POST /cancel/:id. */
import { createHash } from "node:crypto"
import type { BrokerConfig } from "../config/config.ts"
import { Refused } from "../errors.ts"
import { givenIdRecord, headerRecord } from "../redis/keys.ts"
import { DEFAULT_QUEUE } from "../task/id.ts"
import { newTask } from "../task/new-task.ts"
import type { NewTask, Submitted } from "../task/task.ts"
import { memberTexts } from "../wire/json-text.ts"
import type { Fault } from "../wire/problem.ts"
import type { TaskDefaults } from "../wire/queue-settings.ts"
import { Submit } from "../wire/submitting.ts"
import { TRACEPARENT } from "../wire/traceparent.ts"
import { recordAction } from "./actions.ts"
import { answer, answerJson } from "./answer.ts"
import { answerEach, type Batch, readBatch, writeBatch } from "./batch.ts"
import type { Body } from "./body.ts"
import { type BrokerParts, type Call, forTask } from "./call.ts"
import { conflict, faultsOfGroup, requiresOther } from "./faults.ts"
import { checker, invalid } from "./validate.ts"

export async function submitTasks({ request, caller }: Call, parts: BrokerParts): Promise<Response> {
  const { defaults, config } = parts
  using body = await parts.readBody(request)
  const batch = readSubmits(body, request.headers, config, name => defaults.of(name))
  const tasks = caller.refuseOtherQueues(batch.items, task => task.queue)
  const submitted = await answerEach(tasks, items => submit(parts, request.headers, items))
  const text = writeBatch(batch, submitted, writeSubmitted)
  return answer(text, !batch.isArray && isReplayed(submitted[0]!) ? REPLAYED : undefined)
}

/** Submits tasks, with a span if the broker sends spans. */
export const submit = ({ queue, spans }: BrokerParts, headers: Headers, tasks: NewTask[]) =>
  spans === undefined ? queue.submit(tasks) : spans.traceSubmit(headers, tasks, () => queue.submit(tasks))

export const cancelTask = forTask(async (call, parts, id) => {
  const status = await parts.queue.cancel(id)
  await recordAction(call, parts, "cancelTask", { task_id: id }, { status })
  return answerJson({ status, task_id: id })
})

const checkSubmit = checker(Submit)
export const REPLAYED = { "idempotency-replayed": "true" }

/** The draft standard puts the key in quotes. Most clients send it without. */
const IDEMPOTENCY_KEY = /^"?([\x21\x23-\x7e]{1,200})"?$/

/** The headers that apply to all tasks of a request. */
export function readHeaders(headers: Headers) {
  const header = headers.get("idempotency-key")
  const key = header === null ? undefined : IDEMPOTENCY_KEY.exec(header)?.[1]
  if (header !== null && key === undefined)
    throw new Refused("bad_request", {
      field: "Idempotency-Key",
      detail: "`Idempotency-Key` must have 1 to 200 printable ASCII characters without spaces or quotes.",
    })
  // An invalid trace header is ignored: it comes from some proxy, and is no reason to refuse work.
  const parent = headers.get("traceparent")
  const traceparent = parent !== null && TRACEPARENT.test(parent) ? parent : undefined
  const tracestate = traceparent === undefined ? undefined : headers.get("tracestate")?.slice(0, 512)
  return { key, traceparent, tracestate }
}

/** Reads tasks. Absent members take the defaults of the task's queue, and then those of the broker. */
function readSubmits(
  body: Body,
  headers: Headers,
  defaults: BrokerConfig,
  ofQueue: (queue: string) => TaskDefaults | undefined,
): Batch<NewTask> {
  const { key, traceparent, tracestate } = readHeaders(headers)
  const isArray = Array.isArray(body.value)
  let payloads: (string | undefined)[] | undefined
  return readBatch(body, (item, index) => {
    const submit = checkSubmit(item)
    const faults = faultsOf(submit, key)
    if (faults.length > 0) throw invalid(faults)
    payloads ??= memberTexts(body.text, "payload")
    const payload = payloads[index] ?? "{}"
    const trace = submit.traceparent ?? traceparent
    const state = submit.tracestate ?? (submit.traceparent === undefined ? tracestate : undefined)
    // Most tasks have none of these.
    const memberJson =
      submit.meta === undefined && trace === undefined && state === undefined
        ? ""
        : JSON.stringify({ meta: submit.meta, traceparent: trace, tracestate: state }).slice(1, -1)
    const queue = submit.queue ?? DEFAULT_QUEUE
    const task = newTask(queue, submit, payload, memberJson, ofQueue(queue), defaults)
    task.localId = submit.task_id
    task.traceparent = trace
    // A key of a client contains no space, so no item of an array has the record of another key.
    const record =
      submit.task_id !== undefined
        ? givenIdRecord(submit.task_id)
        : key && headerRecord(isArray ? `${key} ${index}` : key)
    if (record) task.idempotency = { key: record, print: fingerprint({ ...submit, payload }) }
    return task
  })
}

export const faultsOfStart = ({ delay_ms, run_at }: Pick<Submit, "delay_ms" | "run_at">): Fault[] =>
  delay_ms !== undefined && run_at !== undefined ? [conflict("delay_ms", "run_at")] : []

/** Members that contradict each other. */
export function faultsOf(submit: Submit, key: string | undefined): Fault[] {
  const faults = faultsOfStart(submit)
  if (submit.on_duplicate !== undefined && submit.unique_key === undefined)
    faults.push(requiresOther("on_duplicate", "unique_key"))
  if (key !== undefined && submit.task_id !== undefined) faults.push(conflict("task_id", "Idempotency-Key"))
  if (submit.group !== undefined) faults.push(...faultsOfGroup(submit.group))
  if (!submit.type.isWellFormed())
    faults.push({
      field: "type",
      detail: "`type` must be well-formed Unicode: it has half of a surrogate pair.",
    })
  return faults
}

/** The same for equal bodies, whatever the order of their members. */
export const fingerprint = (submit: object): string =>
  createHash("sha256").update(sortedJson(submit)).digest("base64url")

/** JSON with the members of every object in the order of their names. */
export const sortedJson = (value: object): string =>
  JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )

export const isReplayed = (answer: Submitted | Refused) =>
  !(answer instanceof Refused) && answer.replayed === true

// Ids, queues and leases contain no characters that JSON escapes.
export function writeSubmitted({ id, state, replayed, replaced }: Submitted): string {
  const marks =
    (replayed ? ',"replayed":true' : "") +
    (state === "duplicate" ? ',"duplicate":true' : "") +
    (replaced ? ',"replaced":true' : "")
  return `{"status":"${state}","task_id":"${id}"${marks}}`
}
