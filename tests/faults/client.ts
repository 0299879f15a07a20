/** A client process: submits what the seed has it submit, and repeats what is safe to repeat until it is answered. */
import { BrokerProblem, Client } from "../../lib/client.ts"
import { Recorder } from "./history.ts"
import { type Allowance, type ClientPart, type Progress, partOf, TOKEN } from "./parts.ts"
import { Chance } from "./seed.ts"
import { type Batch, drawBatch, keyOf, NUMBERS_A_CLIENT, tasksOf } from "./workload.ts"

const TIMEOUT_MS = 1_500

const part = partOf<ClientPart>()
const recorder = new Recorder(part.history)
const brokers = part.urls.map(url => new Client({ url, token: TOKEN, timeoutMs: TIMEOUT_MS }))
const chance = Chance.of(part.seed, `client ${part.index}`)
const first = part.index * NUMBERS_A_CLIENT

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

const anyBroker = () => brokers[Math.floor(Math.random() * brokers.length)]!
const word = (error: unknown) => (error instanceof BrokerProblem ? `!${error.code}` : "")

/** Answered for good: a word, and not that it should be tried again. */
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
      answer instanceof BrokerProblem ? word(answer) : batch.keyed === "id" ? "" : answer.task_id,
    )
    recorder.write("submitted", Date.now(), call, ids)
    const again = answers.some(answer => answer instanceof BrokerProblem && answer.retryable)
    return again ? undefined : answers.map((answer, i) => ("task_id" in answer ? answer.task_id : ids[i]!))
  } catch (error) {
    // A refusal of the whole request is an answer to each of its tasks.
    if (error instanceof BrokerProblem && !error.retryable)
      recorder.write(
        "submitted",
        Date.now(),
        call,
        tasks.map(() => word(error)),
      )
    else recorder.write("unanswered", Date.now(), call, word(error) || "no answer")
    return undefined
  }
}

async function cancel(n: number, id: string): Promise<void> {
  for (;;) {
    const call = recorder.call()
    recorder.write("cancel", Date.now(), call, n, id)
    try {
      const { status } = await anyBroker().cancel(id)
      return recorder.write("cancelled", Date.now(), call, status)
    } catch (error) {
      if (error instanceof BrokerProblem && !error.retryable)
        return recorder.write("cancelled", Date.now(), call, word(error))
      recorder.write("unanswered", Date.now(), call, word(error) || "no answer")
      await Bun.sleep(100)
    }
  }
}

const cancels = new Set<Promise<void>>()

async function lane(): Promise<void> {
  for (;;) {
    while (drawn >= allowed && drawn < part.tasks) await change.promise
    if (drawn >= part.tasks) return wake()
    const batch = drawBatch(chance, first + drawn, part.tasks - drawn, part.pace)
    const cancelled = chance.maybe(batch.delayMs === undefined ? 0.1 : 0.6)
      ? chance.between(0, batch.count - 1)
      : -1
    const repeats = chance.maybe(0.05)
    drawn += batch.count
    let ids = await submit(batch)
    while (ids === undefined && batch.keyed !== "none") {
      await Bun.sleep(20 + Math.random() * 80)
      ids = await submit(batch)
    }
    if (repeats && batch.keyed !== "none") await submit(batch)
    const id = ids?.[cancelled]
    if (id !== undefined && !id.startsWith("!")) {
      const done = cancel(batch.from + cancelled, id).finally(() => cancels.delete(done))
      cancels.add(done)
    }
    made += batch.count
    process.send!({ made, finished: false } satisfies Progress)
  }
}

await Promise.all(Array.from({ length: part.lanes }, lane))
await Promise.all(cancels)
// Whoever started it ends it, once it has heard this.
process.send!({ made, finished: true } satisfies Progress)
