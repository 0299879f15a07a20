/**
 * A client process: submits the tasks drawn from the seed, and repeats requests that are safe to repeat until they are
 * answered. The replacement of a killed client draws the same tasks and skips those in the history of the old one.
 */

import { existsSync } from "node:fs"
import { BrokerProblem, Client } from "../../lib/client.ts"
import { Recorder, readHistory } from "./history.ts"
import {
  type Allowance,
  type ClientPart,
  NOTHING_THIS_OLD_MS,
  type Progress,
  partOf,
  TOKEN,
} from "./parts.ts"
import { Chance } from "./seed.ts"
import { type Batch, drawBatch, keyOf, NUMBERS_PER_CLIENT, type Payload, tasksOf } from "./workload.ts"

const TIMEOUT_MS = 1_500

/** Refusals after which a submit is sent again. */
const AGAIN = new Set(
  ["redis_unavailable", "not_replicated", "out_of_memory", "overloaded", "not_ready", "internal"].map(
    code => `!${code}`,
  ),
)

const part = partOf<ClientPart>()
/** For each batch that was sent before, by its first number: whether it has a final answer. */
const before = new Map<number, boolean>()
const recorder = new Recorder(part.history, await remembered())
const brokers = part.urls.map(url => new Client({ url, token: TOKEN, timeoutMs: TIMEOUT_MS }))
const chance = Chance.of(part.seed, `client ${part.index}`)
const first = part.index * NUMBERS_PER_CLIENT

let allowed = 0
let drawn = 0
let made = 0
let change = Promise.withResolvers<void>()

process.on("message", ({ allowed: now }: Allowance) => {
  allowed = now
  wake()
})

function wake(): void {
  change.resolve()
  change = Promise.withResolvers<void>()
}

/** Reads the history of the previous process and returns its number of calls. */
async function remembered(): Promise<number> {
  if (!existsSync(part.history)) return 0
  let calls = 0
  const sent = new Map<number, Batch>()
  for await (const entry of readHistory(part.history)) {
    const [kind, , call] = entry
    if (typeof call === "number") calls = Math.max(calls, call)
    if (kind === "submit") {
      sent.set(entry[2], entry[3])
      before.set(entry[3].from, before.get(entry[3].from) ?? false)
    }
    if (kind === "submitted" && !entry[3].some(answer => AGAIN.has(answer)))
      before.set(sent.get(entry[2])!.from, true)
  }
  return calls
}

const anyBroker = () => brokers[Math.floor(Math.random() * brokers.length)]!
const word = (error: unknown) => (error instanceof BrokerProblem ? `!${error.code}` : "")

/** Whether this is a final answer: neither missing nor retryable. */
async function submit(batch: Batch): Promise<string[] | undefined> {
  const tasks = tasksOf(batch, part.seed, part.pace, part.resultTtlMs)
  const call = recorder.call()
  recorder.write("submit", Date.now(), call, batch)
  const options = batch.keyed === "key" ? { idempotencyKey: keyOf(batch) } : {}
  try {
    const broker = anyBroker()
    const answers =
      batch.count === 1 ? [await broker.submit(tasks[0]!, options)] : await broker.submitMany(tasks, options)
    const ids = answers.map(answer =>
      answer instanceof BrokerProblem
        ? word(answer)
        : answer.status === "duplicate"
          ? `=${answer.task_id}`
          : batch.keyed === "id"
            ? ""
            : answer.task_id,
    )
    recorder.write("submitted", Date.now(), call, ids)
    const again = answers.some(answer => answer instanceof BrokerProblem && answer.retryable)
    if (again) return undefined
    return answers.map((answer, i) => ("task_id" in answer && ids[i]![0] !== "=" ? answer.task_id : ids[i]!))
  } catch (error) {
    if (error instanceof BrokerProblem && !error.retryable) {
      // A refusal of the whole request applies to each of its tasks.
      const refusals = tasks.map(() => word(error))
      recorder.write("submitted", Date.now(), call, refusals)
      return refusals
    }
    recorder.write("unanswered", Date.now(), call, word(error) || "no answer")
    return undefined
  }
}

const cancel = (n: number, id: string) =>
  persist("cancel", "cancelled", n, id, async () => (await anyBroker().cancel(id)).status)

/** Repeats the call until it is answered. */
async function persist(
  asked: "cancel" | "redrive",
  answered: "cancelled" | "redriven",
  n: number,
  id: string,
  ask: () => Promise<string>,
): Promise<void> {
  for (;;) {
    const call = recorder.call()
    recorder.write(asked, Date.now(), call, n, id)
    try {
      const answer = await ask() // before the time of the answer is read
      return recorder.write(answered, Date.now(), call, answer)
    } catch (error) {
      if (error instanceof BrokerProblem && !error.retryable)
        return recorder.write(answered, Date.now(), call, word(error))
      recorder.write("unanswered", Date.now(), call, word(error) || "no answer")
      await Bun.sleep(100)
    }
  }
}

/** Retries one dead task. */
async function redrive(queue: string): Promise<void> {
  const dead = await anyBroker()
    .dlq({ queue, limit: 1 })
    .catch(() => undefined)
  const task = dead?.tasks[0]
  if (task === undefined) return
  const n = (task.payload as Payload).n ?? -1
  await persist(
    "redrive",
    "redriven",
    n,
    task.id,
    async () => (await anyBroker().retryDeadTask(task.id)).status,
  )
}

/** Deletes dead tasks of an age that none of the run has, whatever the clock of the broker says. */
async function purgeOld(queue: string): Promise<void> {
  const old = { queue, older_than_ms: NOTHING_THIS_OLD_MS }
  await anyBroker()
    .purgeDeadTasks(old)
    .catch(() => {})
}

/** Work in the background of the lanes. */
const beside = new Set<Promise<void>>()
function inBackground(what: Promise<void>): void {
  const done = what.finally(() => beside.delete(done))
  beside.add(done)
}

async function lane(): Promise<void> {
  for (;;) {
    while (drawn >= allowed && drawn < part.tasks) await change.promise
    if (drawn >= part.tasks) return wake()
    const batch = drawBatch(chance, first + drawn, part.tasks - drawn, part.pace)
    const cancelled = chance.maybe(batch.delayMs === undefined ? 0.1 : 0.6)
      ? chance.between(0, batch.count - 1)
      : -1
    const repeats = chance.maybe(0.05)
    const redrives = chance.maybe(0.05)
    const purges = chance.maybe(0.1)
    drawn += batch.count
    const answered = before.get(batch.from)
    if (answered || (answered === false && batch.keyed === "none")) {
      made += batch.count
      continue
    }
    let ids = await submit(batch)
    while (ids === undefined && batch.keyed !== "none") {
      await Bun.sleep(20 + Math.random() * 80)
      ids = await submit(batch)
    }
    if (repeats && batch.keyed !== "none") await submit(batch)
    const id = ids?.[cancelled]
    if (id !== undefined && id[0] !== "!" && id[0] !== "=") inBackground(cancel(batch.from + cancelled, id))
    if (redrives) inBackground(redrive(batch.queue))
    if (purges) inBackground(purgeOld(batch.queue))
    made += batch.count
    process.send!({ made, finished: false } satisfies Progress)
  }
}

process.send!("ready")
await Promise.all(Array.from({ length: part.lanes }, lane))
await Promise.all(beside)
// The run ends this process when it receives this message.
process.send!({ made, finished: true } satisfies Progress)
