/** The end of a run, with all healed: every queue is drained, what there is is listed, and Redis' keys are looked at. */
import { BrokerProblem, BrokerUnreachable, Client } from "../../lib/client.ts"
import { splitId } from "../../lib/task/id.ts"
import type { State } from "../../lib/wire/fields.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { checkQueue } from "../support/invariants.ts"
import { until } from "../support/processes.ts"
import type { Listed } from "./checker.ts"
import { PROBE } from "./faults.ts"
import { BrokerSeat, type Casting } from "./participants.ts"
import { TOKEN } from "./parts.ts"
import type { Target } from "./target.ts"
import { ALL_QUEUES, type Payload, PROBE_QUEUES } from "./workload.ts"

const WAITING: State[] = ["queued", "scheduled", "retrying", "processing"]
const ENDED: State[] = ["done", "dead", "cancelled"]
const PATIENCE_MS = 10_000
const TOLD_EVERY_MS = 5_000

/** A broker past all links, asked again where it says so: its connections may still find out that they are dead. */
export class LastWord {
  readonly #client: Client
  /** How often that was. */
  askedAgain = 0

  constructor(url: string) {
    this.#client = new Client({ url, token: TOKEN, timeoutMs: 30_000 })
  }

  async ask<T>(call: (client: Client) => Promise<T>): Promise<T> {
    for (const from = performance.now(); ; )
      try {
        return await call(this.#client)
      } catch (error) {
        const again =
          error instanceof BrokerUnreachable || (error instanceof BrokerProblem && error.retryable)
        if (!again || performance.now() > from + PATIENCE_MS) throw error
        this.askedAgain++
        await Bun.sleep(50)
      }
  }

  async *tasks(queue: string, state: State, limit = 1_000): AsyncGenerator<TaskView> {
    let cursor: string | undefined
    do {
      const query = { queue, state, limit, ...(cursor === undefined ? {} : { cursor }) }
      const page = await this.ask(client => client.tasks(query))
      yield* page.tasks
      cursor = page.next
    } while (cursor !== undefined)
  }

  /** Of these queues in these states: one task of each, where there is any. */
  async #left(queues: readonly string[], states: readonly State[]): Promise<TaskView[]> {
    const first = async (queue: string, state: State) => {
      for await (const task of this.tasks(queue, state, 1)) return [task]
      return []
    }
    return (await Promise.all(queues.flatMap(queue => states.map(state => first(queue, state))))).flat()
  }

  async #empty(queues: readonly string[], states: readonly State[]): Promise<boolean> {
    return (await this.#left(queues, states)).length === 0
  }

  /** Tells now and then for what it waits. */
  async drained(limitMs: number, tell: (line: string) => void): Promise<void> {
    let toldAt = performance.now()
    const isOver = async () => {
      const left = await this.#left(ALL_QUEUES, WAITING)
      if (left.length > 0 && performance.now() > toldAt + TOLD_EVERY_MS) {
        toldAt = performance.now()
        for (const task of left) tell(`still there: ${JSON.stringify(task)}`)
      }
      return left.length === 0
    }
    await until("every queue is empty", isOver, limitMs)
  }

  forgotten(limitMs: number): Promise<void> {
    return until(
      "ended tasks are forgotten",
      () => this.#empty([...ALL_QUEUES, ...PROBE_QUEUES], ENDED),
      limitMs,
    )
  }

  async list(): Promise<Listed[]> {
    const listed: Listed[] = []
    for (const queue of ALL_QUEUES)
      for (const state of [...WAITING, ...ENDED])
        for await (const task of this.tasks(queue, state)) listed.push(listedOf(task))
    return listed
  }

  /** What `dlq_size` says is what is listed as dead. */
  async checkDlq(listed: readonly Listed[]): Promise<string[]> {
    const wrong: string[] = []
    for (const queue of ALL_QUEUES) {
      const { dlq_size } = await this.ask(client => client.dlq({ queue, limit: 1 }))
      const dead = listed.filter(({ id, status }) => status === "dead" && splitId(id).queue === queue).length
      if (dlq_size !== dead)
        wrong.push(`the dead-letter queue of ${queue} says ${dlq_size}, and lists ${dead}`)
    }
    return wrong
  }
}

function listedOf(task: TaskView): Listed {
  const { id, status, reason, attempt, retries, crashes, releases, finished_at: finishedAt } = task
  const n = (task.payload as Payload).n ?? -1
  return { n, id, status, reason, attempt, retries, crashes, releases, finishedAt }
}

/** What contradicts the layout of the keys. No broker runs: keys that a sweep takes away meanwhile would look torn. */
export async function checkKeys(target: Target): Promise<string[]> {
  const wrong: string[] = []
  for (const queue of [...ALL_QUEUES, ...PROBE_QUEUES]) {
    const redis = await target.admin(queue)
    await checkQueue(redis, queue)
      .catch((error: Error) => wrong.push(error.message.slice(0, 2_000)))
      .finally(() => redis.disconnect())
  }
  return wrong
}

/** Keys that a queue, and a server beside its queues, may have for good, whatever went through them. */
const KEYS_FOR_GOOD = 5

/** With nothing to be kept, nothing is left but what is bound to end by itself. The brokers have stopped. */
export async function checkForgotten(casting: Casting, index: number): Promise<string[]> {
  const nothingKept = { DONE_RETENTION_COUNT: "0", DEAD_RETENTION_COUNT: "0" }
  const broker = new BrokerSeat(casting, index, nothingKept)
  try {
    await broker.start()
    const last = new LastWord(broker.url)
    // Where no probe was needed there is none.
    for (const queue of PROBE_QUEUES)
      await last.ask(client => client.cancel(`${queue}:${PROBE.task_id}`)).catch(() => {})
    await last.forgotten(60_000)
    await broker.stop()
  } catch (error) {
    return [(error as Error).message]
  } finally {
    await broker[Symbol.asyncDispose]()
  }
  const wrong = await checkKeys(casting.target)
  const lasting = await lastingKeys(casting.target)
  if (lasting.length > KEYS_FOR_GOOD * (ALL_QUEUES.length + PROBE_QUEUES.length + 1))
    wrong.push(`${lasting.length} keys are left behind: ${lasting.slice(0, 10).join(", ")}`)
  return wrong
}

async function lastingKeys(target: Target): Promise<string[]> {
  const lasting = new Set<string>()
  for (const redis of await target.admins())
    try {
      let cursor = "0"
      do {
        const [next, keys] = await redis.scan(cursor, "COUNT", 1_000)
        cursor = next
        const lives = await Promise.all(keys.map(key => redis.pttl(key)))
        for (const [i, key] of keys.entries()) if (lives[i] === -1) lasting.add(key)
      } while (cursor !== "0")
    } finally {
      redis.disconnect()
    }
  return [...lasting]
}
