/** The checks at the end of a run, after all faults: every queue is drained, all tasks are listed, and all Redis keys are checked. */
import { BrokerProblem, BrokerUnreachable, Client } from "../../lib/client.ts"
import { splitId } from "../../lib/task/id.ts"
import type { State } from "../../lib/wire/fields.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { checkQueue } from "../support/invariants.ts"
import { until } from "../support/processes.ts"
import type { Listed } from "./checker.ts"
import { PROBE } from "./faults.ts"
import { BrokerSeat, type RunContext } from "./participants.ts"
import { TOKEN } from "./parts.ts"
import type { Target } from "./target.ts"
import { ALL_QUEUES, type Payload, PROBE_QUEUES, SCHEDULE_QUEUE } from "./workload.ts"

const WAITING: State[] = ["queued", "scheduled", "retrying", "processing"]
const ENDED: State[] = ["done", "dead", "cancelled"]
const PATIENCE_MS = 10_000
const REPORT_EVERY_MS = 5_000

/** A client of a broker that bypasses all links. It retries, because connections of the broker may still be found dead. */
export class FinalClient {
  readonly #client: Client
  /** The number of retries. */
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

  /** For each of these queues and states, one task, if there is any. */
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

  /** Waits until no task is unfinished. Reports from time to time what is left. */
  async drained(limitMs: number, report: (line: string) => void): Promise<void> {
    let reportedAt = performance.now()
    const isOver = async () => {
      const left = await this.#left(ALL_QUEUES, WAITING)
      if (left.length > 0 && performance.now() > reportedAt + REPORT_EVERY_MS) {
        reportedAt = performance.now()
        for (const task of left) report(`still there: ${JSON.stringify(task)}`)
      }
      return left.length === 0
    }
    await until("every queue is empty", isOver, limitMs)
  }

  forgotten(limitMs: number): Promise<void> {
    return until(
      "ended tasks are deleted",
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

  /** Compares `dlq_size` with the number of tasks listed as dead. */
  async checkDlq(listed: readonly Listed[]): Promise<string[]> {
    const wrong: string[] = []
    for (const queue of ALL_QUEUES) {
      const { dlq_size } = await this.ask(client => client.dlq({ queue, limit: 1 }))
      const dead = listed.filter(({ id, status }) => status === "dead" && splitId(id).queue === queue).length
      if (dlq_size !== dead)
        wrong.push(`the dead-letter queue of ${queue} reports ${dlq_size} tasks, but ${dead} are listed`)
    }
    return wrong
  }
}

function listedOf(task: TaskView): Listed {
  const { id, status, reason, attempt, retries, crashes, releases, finished_at: finishedAt } = task
  const n = (task.payload as Payload).n ?? -1
  return { n, id, status, reason, attempt, retries, crashes, releases, finishedAt }
}

/** Finds contradictions among the keys. No broker runs, because keys that a running sweep deletes would look inconsistent. */
export async function checkKeys(target: Target): Promise<string[]> {
  const wrong: string[] = []
  for (const queue of [...ALL_QUEUES, ...PROBE_QUEUES, SCHEDULE_QUEUE]) {
    const redis = await target.admin(queue)
    await checkQueue(redis, queue)
      .catch((error: Error) => wrong.push(error.message.slice(0, 2_000)))
      .finally(() => redis.disconnect())
  }
  return wrong
}

/** The keys that a queue, and a server apart from its queues, may keep permanently. */
const KEYS_FOR_GOOD = 5

/** With a retention of zero, only keys that expire may be left. The brokers have stopped. */
export async function checkForgotten(runContext: RunContext, index: number): Promise<string[]> {
  const nothingKept = { DONE_RETENTION_COUNT: "0", DEAD_RETENTION_COUNT: "0" }
  const broker = new BrokerSeat(runContext, index, nothingKept)
  try {
    await broker.start()
    const last = new FinalClient(broker.url)
    // The probe's queue exists only if a probe was sent.
    for (const queue of PROBE_QUEUES)
      await last.ask(client => client.cancel(`${queue}:${PROBE.task_id}`)).catch(() => {})
    await last.forgotten(60_000)
    await broker.stop()
  } catch (error) {
    return [(error as Error).message]
  } finally {
    await broker[Symbol.asyncDispose]()
  }
  const wrong = await checkKeys(runContext.target)
  const lasting = await lastingKeys(runContext.target)
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
