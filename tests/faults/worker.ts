/**
 * A worker process of any kind, which records its leases and the answers to its acks. The replacement of a killed worker
 * repeats its unanswered acks: without the answer, the checker could not know whether the task ended.
 */
import { BrokerProblem, BrokerUnreachable, type CallOptions, Client, type Worked } from "../../lib/client.ts"
import type { Handler } from "../../lib/handlers.ts"
import { createLog } from "../../lib/log.ts"
import { stopSignal } from "../../lib/signals.ts"
import type { Ack, Extend, LeasedTask, Work } from "../../lib/wire/working.ts"
import { TaskRunner } from "../../lib/worker/task-runner.ts"
import { type Acked, Recorder, readHistory } from "./history.ts"
import { partOf, TOKEN, type WorkerPart } from "./parts.ts"
import { type Payload, PLAIN_QUEUE } from "./workload.ts"

const TIMEOUT_MS = 1_500
const WAIT_MS = 500

const part = partOf<WorkerPart>()
const recorder = new Recorder(part.history)
const brokers = part.urls.map(url => new Client({ url, token: TOKEN, timeoutMs: TIMEOUT_MS }))
const stop = stopSignal()
/** The task number of each lease. */
const numbers = new Map<string, number>()

const anyBroker = () => brokers[Math.floor(Math.random() * brokers.length)]!
const isFinal = (answer: unknown) =>
  !(answer instanceof BrokerProblem && (answer.retryable || answer.status >= 500))
const wordOf = (answer: { status: string } | BrokerProblem) =>
  answer instanceof BrokerProblem ? `!${answer.code}` : answer.status
const outcomeOf = ({ status = "done" }: Ack) => status

function leased(tasks: readonly LeasedTask[]): void {
  if (tasks.length === 0) return
  for (const { lease, payload } of tasks) numbers.set(lease, (payload as Payload).n ?? -1)
  recorder.write(
    "leased",
    Date.now(),
    tasks.map(({ id, lease, lease_expires_at, timeout_ms }) => [
      numbers.get(lease)!,
      id,
      lease,
      lease_expires_at - timeout_ms,
      lease_expires_at,
    ]),
  )
}

function acking(call: number, acks: readonly Ack[]): void {
  if (acks.length > 0)
    recorder.write(
      "ack",
      Date.now(),
      call,
      acks.map((ack): Acked => [numbers.get(ack.lease!) ?? -1, ack.task_id, ack.lease!, outcomeOf(ack)]),
    )
}

function acked(call: number, acks: readonly Ack[], answers: Worked["settled"]): void {
  if (acks.length === 0) return
  recorder.write("acked", Date.now(), call, answers.map(wordOf))
}

function extended(extends_: readonly Extend[], answers: Worked["extended"]): void {
  const kept = extends_.flatMap(({ lease }, i): [number, string, number][] => {
    const answer = answers[i]!
    return answer instanceof BrokerProblem ? [] : [[numbers.get(lease) ?? -1, lease, answer.lease_expires_at]]
  })
  if (kept.length > 0) recorder.write("extended", Date.now(), kept)
}

function unanswered(call: number, error: unknown): void {
  recorder.write(
    "unanswered",
    Date.now(),
    call,
    error instanceof BrokerProblem ? `!${error.code}` : "no answer",
  )
}

const ran = (task: LeasedTask) =>
  recorder.later("ran", Date.now(), [[numbers.get(task.lease) ?? -1, task.lease]])

/** How long a late task runs, in leases: the first worker acks while the second still works. */
const lateBy = ({ attempt }: LeasedTask) => (attempt === 1 ? 1.2 : 0.5)

/** Repeats the acks until each is answered. */
async function ack(acks: readonly Ack[]): Promise<void> {
  for (let left = acks; left.length > 0; ) {
    const call = recorder.call()
    acking(call, left)
    try {
      const answers = await anyBroker().ackMany(left)
      acked(call, left, answers)
      left = left.filter((_, i) => !isFinal(answers[i]))
    } catch (error) {
      unanswered(call, error)
    }
    if (left.length > 0) await Bun.sleep(20 + Math.random() * 80)
  }
}

/** The unanswered acks of the predecessors. */
async function inheritance(): Promise<Ack[]> {
  const open = new Map<string, Ack>()
  for (const path of part.inherits) {
    const calls = new Map<number, Acked[]>()
    for await (const entry of readHistory(path)) {
      if (entry[0] === "ack") {
        calls.set(entry[2], entry[3])
        for (const [n, task_id, lease, status] of entry[3]) {
          if (lease === "") continue // without a lease, a repeated ack might settle another attempt
          numbers.set(lease, n)
          open.set(lease, { task_id, lease, status: status as "done" })
        }
      } else if (entry[0] === "acked")
        entry[3].forEach((word, i) => {
          const again = ["!redis_unavailable", "!not_replicated", "!overloaded"].includes(word)
          if (!again) open.delete(calls.get(entry[2])![i]![2])
        })
    }
  }
  return [...open.values()]
}

/** Background work that is awaited at the end. */
const beside = new Set<Promise<void>>()
function inBackground(what: Promise<void>): void {
  const done = what.finally(() => beside.delete(done))
  beside.add(done)
}

/** A worker as a user might write it: leases several tasks, runs them and acks them together. */
async function leaseLoop(): Promise<void> {
  while (!stop.aborted) {
    const call = recorder.call()
    let tasks: LeasedTask[]
    try {
      const request = { queues: part.queues, max: part.concurrency, wait_ms: WAIT_MS, worker: part.name }
      tasks = (await anyBroker().lease(request)).tasks
      leased(tasks)
      if (tasks.length === 0) recorder.write("answered", Date.now(), call)
    } catch (error) {
      unanswered(call, error)
      await Bun.sleep(20 + Math.random() * 80)
      continue
    }
    const acks: Ack[] = []
    for (const task of tasks) {
      const done = (status: Ack["status"]) => ({
        task_id: task.id,
        lease: task.lease,
        ...(status && { status }),
      })
      const first = task.attempt === 1
      const deed = (task.payload as Payload).do
      if (deed === "poison") process.kill(process.pid, "SIGKILL")
      else if (deed === "bad" || (deed === "flaky" && task.attempt <= 2)) acks.push(done("failed"))
      else if (deed === "release" && first)
        acks.push({ ...done("released"), retry_in_ms: Math.random() < 0.5 ? 0 : 100 })
      else if (deed === "forget" && first) continue
      else if (deed === "slow")
        inBackground(slowly(task).then(held => (held ? ack([done("done")]) : undefined)))
      else if (deed === "late")
        inBackground(
          Bun.sleep(task.timeout_ms * lateBy(task)).then(() => {
            ran(task)
            return ack([done("done")])
          }),
        )
      else {
        ran(task)
        acks.push(done("done"))
      }
    }
    await ack(acks)
    // A worker whose answer was slow may repeat its ack. The answer must be the same.
    if (Math.random() < 0.05) await ack(acks)
  }
}

/** One task at a time, without leases: such an ack applies to whichever worker holds the task. */
async function plainLoop(): Promise<void> {
  for (let turn = 0; !stop.aborted; turn++) {
    const call = recorder.call()
    const query = `queue=${PLAIN_QUEUE}&wait_ms=${WAIT_MS}&worker=${part.name}`
    const task = await fetch(`${part.urls[turn % part.urls.length]}/get?${query}`, {
      headers: { "X-API-Token": TOKEN },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
      .then(answer => (answer.status === 200 ? (answer.json() as Promise<LeasedTask>) : undefined))
      .catch(error => unanswered(call, error))
    if (!task) {
      await Bun.sleep(20)
      continue
    }
    leased([task])
    const fails = (task.payload as Payload).do === "flaky" && task.attempt <= 2
    if (!fails) ran(task)
    const n = numbers.get(task.lease)!
    for (let tries = 0; tries < 5; tries++) {
      const acking = recorder.call()
      const outcome = fails ? "failed" : "done"
      recorder.write("ack", Date.now(), acking, [[n, task.id, "", outcome]])
      try {
        const { status } = await anyBroker().ack({ task_id: task.id, status: outcome })
        recorder.write("acked", Date.now(), acking, [status])
        break
      } catch (error) {
        if (error instanceof BrokerProblem && isFinal(error)) {
          recorder.write("acked", Date.now(), acking, [wordOf(error)])
          break
        }
        unanswered(acking, error)
        // A repeated failure might fail the next attempt, too.
        if (fails) break
      }
    }
  }
}

/** Works for longer than the lease and extends it. Returns whether it still holds the lease at the end. */
async function slowly(task: LeasedTask): Promise<boolean> {
  for (let i = 0; i < 4; i++) {
    await Bun.sleep(task.timeout_ms / 3)
    const lease = { task_id: task.id, lease: task.lease }
    const call = recorder.call()
    try {
      const answers = await anyBroker().extendMany([lease], { timeoutMs: 500 })
      extended([lease], answers)
      if (answers[0] instanceof BrokerProblem && isFinal(answers[0])) return false
    } catch (error) {
      unanswered(call, error)
    }
  }
  ran(task)
  return true
}

/** The product's worker, with a client that records all calls. */
function productWorker(): TaskRunner {
  const work = async (request: Work, options?: CallOptions): Promise<Worked> => {
    const call = recorder.call()
    acking(call, request.settle ?? [])
    try {
      const answer = await anyBroker().work(request, options)
      leased(answer.tasks)
      acked(call, request.settle ?? [], answer.settled)
      extended(request.extend ?? [], answer.extended)
      if (answer.tasks.length + answer.settled.length === 0) recorder.write("answered", Date.now(), call)
      return answer
    } catch (error) {
      if (error instanceof BrokerProblem || error instanceof BrokerUnreachable) unanswered(call, error)
      throw error
    }
  }
  const handler: Handler<Payload> = async (payload, { task, signal }) => {
    const first = task.attempt === 1
    switch (payload.do) {
      case "poison":
        process.kill(process.pid, "SIGKILL")
        break
      case "bad":
        throw new Error("bad")
      case "flaky":
        if (task.attempt <= 2) throw new Error("flaky")
        break
      case "late":
        // Blocks the whole process at first, including its extends.
        if (first) Bun.sleepSync(task.timeout_ms * lateBy(task))
        else await Bun.sleep(task.timeout_ms * lateBy(task))
        break
      case "slow":
      case "forget":
        if (first || payload.do === "slow") await Bun.sleep(task.timeout_ms * 1.3)
        break
    }
    if (!signal.aborted) ran(task)
  }
  return new TaskRunner({
    client: { work },
    handlers: new Map([["work", handler as Handler]]),
    log: createLog("silent"),
    name: part.name,
    queues: part.queues,
    concurrency: part.concurrency,
    drainMs: 5_000,
    waitMs: WAIT_MS,
    delays: { firstMs: 20, capMs: 200 },
  })
}

const inherited = await inheritance()
acking(recorder.call(), inherited)
process.send!({ ready: true })
const heir = ack(inherited)
if (part.kind === "work") {
  const worker = productWorker()
  await new Promise(resolve => stop.addEventListener("abort", resolve))
  await worker.stop()
} else if (part.kind === "plain") await plainLoop()
else await Promise.all([leaseLoop(), leaseLoop()])
await Promise.all([heir, ...beside])
process.exit(0)
