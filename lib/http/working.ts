/** Working: GET /get, POST /lease, /ack, /extend and /work. */
import { type Each, Refused } from "../errors.ts"
import type { TaskQueue } from "../queue/task-queue.ts"
import { DEFAULT_QUEUE, queueOf } from "../task/id.ts"
import type { Extended, Extension, Leased, Settled, Settlement } from "../task/task.ts"
import { memberTexts } from "../wire/json-text.ts"
import type { Fault } from "../wire/problem.ts"
import {
  Ack,
  Extend,
  GetQuery,
  LeaseRequest,
  MAX_CHECKPOINT_BYTES,
  MAX_PROGRESS_BYTES,
  Work,
} from "../wire/working.ts"
import { answer } from "./answer.ts"
import {
  acceptedOf,
  answerEach,
  type Batch,
  MAX_ITEMS,
  mergeAnswers,
  readBatch,
  readItems,
  writeBatch,
  writeEach,
} from "./batch.ts"
import type { Body } from "./body.ts"
import { type BrokerParts, type Call, logFields } from "./call.ts"
import { conflict, requiresOther } from "./faults.ts"
import { checker, invalid, queryChecker, queryOf } from "./validate.ts"

export async function leaseOne({ request, caller }: Call, parts: BrokerParts): Promise<Response> {
  const { queue: queues, wait_ms: waitMs, worker } = checkGet(queryOf(request))
  const demand = { queues: [...new Set(queues)], max: 1, waitMs, worker, binding: caller.binding }
  caller.requireQueues(...demand.queues)
  const [task] = await takeTasks(parts, demand, request.signal)
  return task === undefined ? new Response(null, { status: 204 }) : answer(writeLeased(task))
}

export async function lease({ request, caller }: Call, parts: BrokerParts): Promise<Response> {
  using body = await parts.readBody(request)
  const { queues, wait_ms: waitMs, ...rest } = checkLease(body.value)
  const demand = { ...rest, queues: [...new Set(queues)], waitMs, binding: caller.binding }
  caller.requireQueues(...demand.queues)
  const tasks = await takeTasks(parts, demand, request.signal)
  return answer(writeLeasedMany(tasks, parts.workers.isDraining(demand)))
}

export async function ack(call: Call, parts: BrokerParts): Promise<Response> {
  const { request, caller } = call
  const { queue, spans } = parts
  using body = await parts.readBody(request)
  const batch = readAcks(body)
  const acks = caller.refuseOtherQueues(batch.items, ({ id }) => queueOf(id))
  const settle = (items: Settlement[]) => queue.settle(items, undefined, () => logFields(call))
  const settled = await answerEach(acks, items =>
    spans === undefined
      ? settle(items)
      : spans.traceSettle(
          request.headers,
          items,
          "",
          () => settle(items),
          answers => answers,
        ),
  )
  return answer(writeBatch(batch, settled, writeSettled))
}

export async function extend({ request, caller }: Call, parts: BrokerParts): Promise<Response> {
  using body = await parts.readBody(request)
  const batch = readExtends(body)
  const leases = caller.refuseOtherQueues(batch.items, ({ id }) => queueOf(id))
  const extended = await answerEach(leases, items => parts.queue.extend(items))
  return answer(writeBatch(batch, extended, writeExtended))
}

/** Extends, settles and leases in one call. */
export async function work(call: Call, parts: BrokerParts): Promise<Response> {
  const { request, caller } = call
  const { queue, workers, spans, limitWaiting } = parts
  using body = await parts.readBody(request)
  const { demand: wanted, ...lists } = readWork(body)
  const demand = { ...wanted, binding: caller.binding }
  const { worker } = demand
  if (demand.max > 0) caller.requireQueues(...demand.queues)
  const settle = caller.refuseOtherQueues(lists.settle, ({ id }) => queueOf(id))
  const extend = caller.refuseOtherQueues(lists.extend, ({ id }) => queueOf(id))
  // Extend first: the last progress of a task may come in the same request as the ack that ends it.
  const extended = await answerEach(extend, items => queue.extend(items))
  // A worker that waits for answers must get them at once, so the call does not wait for tasks.
  const waitMs = settle.length + extend.length > 0 ? 0 : demand.waitMs
  const settlements = acceptedOf(settle)
  const settleAndLease = () =>
    queue.settleAndLease(settlements, { ...demand, waitMs, signal: request.signal }, () => ({
      ...logFields(call),
      worker: worker || undefined,
    }))
  const startedAt = spans && Date.now()
  const [settled, tasks] = await limitWaiting(waitMs, () =>
    spans === undefined
      ? settleAndLease()
      : spans.traceSettle(request.headers, settlements, worker, settleAndLease, ([answers]) => answers),
  )
  spans?.recordLeases(tasks, worker, startedAt!)
  const isDraining = workers.isDraining(demand)
  return answer(writeWork(tasks, mergeAnswers(settle, settled), extended, extend, isDraining))
}

async function takeTasks(
  { queue, spans, limitWaiting }: BrokerParts,
  demand: Omit<Parameters<TaskQueue["lease"]>[0], "signal">,
  signal: AbortSignal,
): Promise<Leased[]> {
  const startedAt = spans && Date.now()
  const tasks = await limitWaiting(demand.waitMs, () => queue.lease({ ...demand, signal }))
  spans?.recordLeases(tasks, demand.worker, startedAt!)
  return tasks
}

const DEFAULT_DEMAND = { queues: [DEFAULT_QUEUE], wait_ms: 0, worker: "" }
const checkGet = queryChecker(GetQuery, { queue: [DEFAULT_QUEUE], wait_ms: 0, worker: "" })
const checkLease = checker(LeaseRequest, { ...DEFAULT_DEMAND, max: 1 })
const checkWork = checker(Work, { ...DEFAULT_DEMAND, max: 0 })
const checkAck = checker(Ack)
const checkExtend = checker(Extend)

const MAX_ERROR_CHARACTERS = 8_192

const readAcks = (body: Body): Batch<Settlement> =>
  readBatch(
    body,
    ackReader(() => memberTexts(body.text, "result")),
  )

function ackReader(resultTexts: () => (string | undefined)[]) {
  let results: (string | undefined)[] | undefined
  return (item: unknown, index: number): Settlement => {
    const ack = checkAck(item)
    const { task_id: id, status: outcome = "done", lease, error, result, retry, retry_in_ms } = ack
    const holdGroupMs = ack.hold_group_ms
    const faults = faultsOf(ack, outcome)
    if (faults.length > 0) throw invalid(faults)
    if (outcome !== "done") {
      const text = error?.slice(0, MAX_ERROR_CHARACTERS).toWellFormed()
      return { id, outcome, lease, text, retry: retry === false ? "no" : retry_in_ms, holdGroupMs }
    }
    results ??= result === undefined ? undefined : resultTexts()
    return { id, outcome, lease, text: result === undefined ? undefined : results?.[index] }
  }
}

/** Members that do not match the status. */
function faultsOf({ result, error, retry, retry_in_ms, hold_group_ms }: Ack, outcome: string): Fault[] {
  const faults: Fault[] = []
  if (result !== undefined && outcome !== "done") faults.push(requiresOther("result", "status: done"))
  if (outcome === "done") {
    if (error !== undefined) faults.push(requiresOther("error", "status: failed` or `status: released"))
    if (retry_in_ms !== undefined)
      faults.push(requiresOther("retry_in_ms", "status: failed` or `status: released"))
    if (hold_group_ms !== undefined)
      faults.push(requiresOther("hold_group_ms", "status: failed` or `status: released"))
  }
  if (retry !== undefined && outcome !== "failed") faults.push(requiresOther("retry", "status: failed"))
  if (retry === false && retry_in_ms !== undefined) faults.push(conflict("retry_in_ms", "retry: false"))
  return faults
}

const readExtends = (body: Body): Batch<Extension> =>
  readBatch(
    body,
    extendReader(name => memberTexts(body.text, name)),
  )

function extendReader(textsOf: (member: string) => (string | undefined)[]) {
  const found = new Map<string, (string | undefined)[]>()
  const textOf = (member: "progress" | "checkpoint", index: number, maxBytes: number) => {
    if (!found.has(member)) found.set(member, textsOf(member))
    const text = found.get(member)![index]
    if (text !== undefined && Buffer.byteLength(text) > maxBytes)
      throw new Refused("bad_request", {
        field: member,
        detail: `\`${member}\` must have at most ${maxBytes} bytes of JSON.`,
      })
    return text
  }
  return (item: unknown, index: number): Extension => {
    const { task_id: id, lease, timeout_ms: timeoutMs, progress, checkpoint, log } = checkExtend(item)
    return {
      id,
      lease,
      timeoutMs,
      progress: progress === undefined ? undefined : textOf("progress", index, MAX_PROGRESS_BYTES),
      checkpoint: checkpoint === undefined ? undefined : textOf("checkpoint", index, MAX_CHECKPOINT_BYTES),
      log,
    }
  }
}

/** Reads the body of /work. The items of its lists are checked independently, like those of /ack and /extend. */
function readWork({ text, value }: Body) {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value)
  // The lists are taken out first, so that the schema checks only the other members. It refuses lists that are too long.
  const rest: Record<string, unknown> = isObject ? { ...value } : {}
  const takeList = (name: "settle" | "extend"): unknown[] => {
    const list = rest[name]
    if (!Array.isArray(list) || list.length > MAX_ITEMS) return []
    rest[name] = []
    return list
  }
  const listText = (name: string) => memberTexts(text, name)[0] ?? "[]"
  const settle = takeList("settle")
  const extend = takeList("extend")
  const { queues, max, wait_ms: waitMs, ...found } = checkWork(isObject ? rest : value)
  const { worker, instance, host, version, concurrency } = found
  return {
    settle: readItems(
      settle,
      ackReader(() => memberTexts(listText("settle"), "result")),
    ),
    extend: readItems(
      extend,
      extendReader(member => memberTexts(listText("extend"), member)),
    ),
    demand: { queues: [...new Set(queues)], max, waitMs, worker, instance, host, version, concurrency },
  }
}

// Ids, queues and leases contain no characters that JSON escapes.

const writeSettled = ({ id, code, retries }: Settled): string =>
  code === "requeued" || code === "moved_to_dlq"
    ? `{"status":"${code}","task_id":"${id}","retries":${retries}}`
    : `{"status":"${code}","task_id":"${id}"}`

const writeExtended = ({ id, code, leaseExpiresAt }: Extended): string =>
  `{"status":"${code}","task_id":"${id}","lease_expires_at":${leaseExpiresAt}}`

function writeLeased(task: Leased): string {
  const { policy, memberJson, checkpoint } = task
  return (
    // A reader that takes the first match, as grep does, must not find an `id` or a `lease` of the payload.
    `{"id":"${task.id}","lease":"${task.lease}","type":${task.type},"payload":${task.payload},"status":"processing",` +
    `"retries":${task.retries},"max_retries":${policy.maxRetries},"queue":"${task.queue}","attempt":${task.attempt},` +
    `"timeout_ms":${policy.timeoutMs},"lease_expires_at":${task.leaseExpiresAt}` +
    (task.releases ? `,"releases":${task.releases}` : "") +
    (policy.maxRuntimeMs ? `,"max_runtime_ms":${policy.maxRuntimeMs}` : "") +
    (task.group === undefined ? "" : `,"group":${JSON.stringify(task.group)}`) +
    (memberJson === undefined ? "" : `,${memberJson}`) +
    (task.redact ? ',"redact":true' : "") +
    (checkpoint === undefined ? "}" : `,"checkpoint":${checkpoint}}`)
  )
}

const writeLeasedMany = (tasks: readonly Leased[], drain: boolean): string =>
  `{"tasks":[${tasks.map(writeLeased).join(",")}]${drain ? ',"drain":true' : ""}}`

function writeWork(
  tasks: readonly Leased[],
  settled: readonly Each<Settled>[],
  extended: readonly Each<Extended>[],
  extensions: readonly Each<Extension>[],
  drain: boolean,
): string {
  const idsWhere = (match: (answer: Each<Extended>) => boolean) =>
    extensions.length === 0
      ? "[]"
      : JSON.stringify(
          extensions.flatMap((item, i) => (item instanceof Refused || !match(extended[i]!) ? [] : [item.id])),
        )
  const lost = idsWhere(
    answer =>
      answer instanceof Refused && (answer.reason === "lease_lost" || answer.reason === "task_not_found"),
  )
  const cancelled = idsWhere(answer => !(answer instanceof Refused) && answer.code === "cancelled")
  return (
    `{"tasks":[${tasks.map(writeLeased).join(",")}],"settled":${writeEach(settled, writeSettled)},` +
    `"extended":${writeEach(extended, writeExtended)},"lost":${lost},"cancelled":${cancelled},"drain":${drain}}`
  )
}
