/**
 * The operations on tasks that the routes call: submit, lease, settle, extend, cancel and find. This room knows tasks
 * and scripts, and nothing of HTTP. Payloads and results are JSON text that passes through unparsed.
 */
import { type Each, Refused } from "../errors.ts"
import type { Fields } from "../log.ts"
import { givenIdRecord, recordKey } from "../redis/keys.ts"
import type { RedisState } from "../redis/redis-state.ts"
import type { Replies } from "../redis/scripts.ts"
import { queueOf, splitId } from "../task/id.ts"
import type { Sight } from "../task/sight.ts"
import type {
  Extended,
  Extension,
  Leased,
  NewTask,
  Settled,
  Settlement,
  Submitted,
  Task,
} from "../task/task.ts"
import type { AuditAnswer } from "../wire/operating.ts"
import { ENDED_STATES, statesOf } from "../wire/states.ts"
import { changeTask, type TaskChange } from "./change.ts"
import { createTasks } from "./create-tasks.ts"
import { findTask } from "./listing.ts"
import type { Demand } from "./long-poll.ts"
import { openParts, type Parts, type TaskQueueOptions } from "./parts.ts"
import { leaseLost } from "./refusals.ts"
import { type Why, whyTask } from "./why.ts"
import type { WorkerIdentity } from "./worker-registry.ts"

export class TaskQueue {
  /** Connects, and checks that this Redis is one that this version can use. */
  static async open(options: TaskQueueOptions): Promise<TaskQueue> {
    const parts = await openParts(options)
    try {
      await parts.store.requireRights()
      await parts.upkeep.start()
      parts.store.logRefusals()
      return new TaskQueue(parts)
    } catch (error) {
      await parts.upkeep.close()
      throw error
    }
  }

  private constructor(readonly parts: Parts) {}

  /** How many requests wait for tasks. */
  get waiting(): number {
    return this.parts.longPoll.size
  }

  /** Creates tasks, ready now or after their delay. The answers are in the order of the tasks. */
  submit(tasks: readonly NewTask[]): Promise<Each<Submitted>[]> {
    return createTasks(this.parts, tasks)
  }

  /** Leases tasks, and waits up to `waitMs` if there are none. */
  async lease(demand: Demand): Promise<Leased[]> {
    const tasks = await this.#poll(demand)
    this.parts.workers.recordLeased(demand, tasks)
    return tasks
  }

  #poll(demand: Demand): Promise<Leased[]> {
    this.parts.workers.recordRequest(demand, demand.queues)
    return this.parts.workers.isDraining(demand) ? Promise.resolve([]) : this.parts.longPoll.wait(demand)
  }

  /**
   * Ends attempts. The answers are in the order of the settlements; safe to repeat. `worker` is the one that settles, if
   * it is known. `requester` is added to log lines.
   */
  async settle(
    settlements: readonly Settlement[],
    worker: WorkerIdentity = { worker: "" },
    requester: () => Fields = () => ({}),
  ): Promise<Each<Settled>[]> {
    const { outcomes, sweeper } = this.parts
    const answers = await this.parts.settles.runByQueue(settlements, ({ id }) => queueOf(id))
    const now = this.parts.clock.now()
    return settlements.map((settlement, i) => {
      const { id, lease } = settlement
      const answer = answers[i]!
      if (answer instanceof Refused) return answer
      const [code, retries, attempt, state, at, reason, redact] = answer
      // A sweep learns when the backoff ends. Waiting requests make no lease call from which this broker would learn it.
      if (state === "retrying") sweeper.sweepIn(queueOf(id), 0)
      switch (code) {
        case "acknowledged":
        case "requeued":
        case "moved_to_dlq":
        case "released":
        case "cancelled":
          outcomes.recordSettled(settlement, { code, retries, attempt, reason, redact, at, now }, requester)
          this.parts.workers.recordSettled(worker, { id, code, retries }, lease)
          return { id, code, retries }
        case "lease_lost":
          return leaseLost(id, attempt, state)
        case "not_leased":
          return new Refused("not_leased", {
            task_id: id,
            state,
            detail: `The task is ${state}. Only a leased task can be acknowledged.`,
          })
        case "unknown":
          return new Refused("task_not_found", { task_id: id })
        default:
          throw code satisfies never
      }
    })
  }

  /**
   * Settles, then leases. If no settlement can make a task ready, both share one round trip to Redis and one fsync; if
   * the settlements then fail, the leased tasks are returned to their queue.
   */
  async settleAndLease(
    settlements: readonly Settlement[],
    demand: Demand,
    requester?: () => Fields,
  ): Promise<[Each<Settled>[], Leased[]]> {
    if (demand.max === 0) this.parts.workers.recordRequest(demand)
    const lease = async () => (demand.max > 0 ? this.#poll(demand) : [])
    if (!settlements.every(({ outcome }) => outcome === "done"))
      return [await this.settle(settlements, demand, requester), await lease()]
    const [settled, leased] = await Promise.allSettled([this.settle(settlements, demand, requester), lease()])
    if (leased.status === "rejected") throw leased.reason
    if (settled.status === "fulfilled") return [settled.value, leased.value]
    await this.parts.lost.giveBack(leased.value)
    throw settled.reason
  }

  /** Extends leases that the caller still holds. The answers are in the order of the extensions; safe to repeat. */
  async extend(extensions: readonly Extension[]): Promise<Each<Extended>[]> {
    const answers = await this.parts.extends.runByQueue(extensions, ({ id }) => queueOf(id))
    return extensions.map(({ id, timeoutMs }, i) => {
      const answer = answers[i]!
      if (answer instanceof Refused) return answer
      const [code, leaseExpiresAt, attempt, state] = answer
      switch (code) {
        case "ok":
        case "cancelled":
          // A shorter timeout can make the lease lapse earlier than before.
          if (timeoutMs !== undefined) this.parts.sweeper.sweepIn(queueOf(id), timeoutMs)
          return { id, code, leaseExpiresAt }
        case "lease_lost":
          return leaseLost(id, attempt, state)
        case "unknown":
          return new Refused("task_not_found", { task_id: id })
        default:
          throw code satisfies never
      }
    })
  }

  /** Cancels a waiting task, or asks the worker that runs it to stop. Safe to repeat. */
  async cancel(id: string): Promise<"cancelled" | "cancelling"> {
    const [[code, state]] = (await this.parts.actions.cancel([id])) as [Replies["cancel"][number]]
    if (code === "unknown") throw new Refused("task_not_found", { task_id: id })
    if (code === "ended") throw new Refused("already_ended", { task_id: id, state })
    return code
  }

  /** Gives a waiting task another payload, priority, start time or labels. Safe to repeat. */
  change(id: string, change: TaskChange): Promise<void> {
    return changeTask(this.parts, id, change)
  }

  /** Deletes a task that has ended. */
  async delete(id: string): Promise<void> {
    const { state } = await this.find(id, "none")
    const [[code]] = (await this.parts.actions.delete([id], { states: statesOf("ended") })) as [
      Replies["deleteEnded"][number],
    ]
    if (code === "unknown") throw new Refused("task_not_found", { task_id: id })
    if (code === "kept") throw new Refused("not_ended", { task_id: id, state })
  }

  /** The task as it is now, or, with `waitMs`, as it is once it has ended or the time is over. */
  async find(id: string, sight: Sight, waitMs = 0, signal?: AbortSignal): Promise<Task> {
    const { scripts, ends } = this.parts
    try {
      const task = await findTask(scripts, id, sight)
      if (waitMs === 0 || ENDED_STATES.includes(task.state)) return task
      await ends.waitFor(id, waitMs, signal)
      return await findTask(scripts, id, sight)
    } catch (error) {
      throw await this.#goneInsteadOfUnknown(error, id)
    }
  }

  /** Why a task does not run, with the facts. */
  async why(id: string, sight: Sight): Promise<Why> {
    const { scripts, longPoll } = this.parts
    try {
      return await whyTask(scripts, id, sight, queue => longPoll.hasWaiters(queue))
    } catch (error) {
      throw await this.#goneInsteadOfUnknown(error, id)
    }
  }

  /** Checks that every task is in the place that its state requires, of one queue or of all; `fix` repairs what is not. */
  audit(
    { fix, queue }: { fix: boolean; queue?: string | undefined },
    signal: AbortSignal,
  ): Promise<AuditAnswer> {
    return this.parts.auditor.run(fix, queue, signal)
  }

  redisState(): Promise<RedisState> {
    return this.parts.store.state()
  }

  /** Answers all waiting requests now. */
  stopWaiting(): void {
    this.parts.upkeep.stopWaiting()
  }

  close(): Promise<void> {
    return this.parts.upkeep.close()
  }

  /** Replaces "not found" by "gone" if an idempotency record still names the task. Ids chosen by clients have one. */
  async #goneInsteadOfUnknown(error: unknown, id: string): Promise<unknown> {
    if (!(error instanceof Refused && error.reason === "task_not_found")) return error
    const { queue, localId } = splitId(id)
    const key = recordKey(queue, givenIdRecord(localId))
    const record = (await this.parts.store.command(["GET", key]).catch(() => null)) as string | null
    return record?.split(" ")[1] === localId ? new Refused("task_gone", { task_id: id }) : error
  }
}
