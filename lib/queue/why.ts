/** Why a task does not run, in one sentence with the facts. */
import { Refused } from "../errors.ts"
import type { Replies, Scripts } from "../redis/scripts.ts"
import { joinId, splitId } from "../task/id.ts"
import { readTask } from "../task/record.ts"
import type { Sight } from "../task/sight.ts"
import type { Task } from "../task/task.ts"
import type { HeldCause } from "../wire/grouping.ts"
import type { Attempt } from "../wire/inspecting.ts"

const MAX_ERROR_CHARACTERS = 200
/** If no worker polled for this long, that is why a ready task does not run. */
const NO_WORKERS_MS = 60_000

export interface Why {
  task: Task
  cause:
    | "ended"
    | "delayed"
    | "backing_off"
    | "running"
    | "cancelling"
    | "waiting"
    | "paused"
    | "limited"
    | "no_workers"
    | (typeof GROUP_CAUSES)[HeldCause]
  sentence: string
  ahead?: number
  atLeast?: boolean
  polledAt?: number
  pausedAt?: number
  pauseReason?: string
  /** Tasks that have the slots of its group. */
  blockedBy?: string[]
  /** When its group may go on. */
  heldUntil?: number
}

/** What a cause of lua/groups.lua is called here. */
const GROUP_CAUSES = {
  concurrency: "group_limited",
  rate: "group_rate",
  order: "group_order",
  paused: "group_paused",
  asked: "group_held",
} as const satisfies Record<HeldCause, string>

/** `hasWaiters`: whether requests wait for tasks of the queue at this broker. */
export async function whyTask(
  scripts: Scripts,
  id: string,
  sight: Sight,
  hasWaiters: (queue: string) => boolean,
): Promise<Why> {
  const { queue, localId } = splitId(id)
  const found = await scripts.callOne("why", queue, {}, { id: localId })
  if (!found) throw new Refused("task_not_found", { task_id: id })
  return explain(queue, found, sight, hasWaiters(queue))
}

function explain(
  queue: string,
  [now, polled, higher, position, paused, reason, limited, raw, held, heldUntil, note, holders]: NonNullable<
    Replies["why"][number]
  >,
  sight: Sight,
  isPolled: boolean,
): Why {
  const task = readTask(queue, raw, sight)
  const until = (time: number) => `in ${seconds(time - now)}`
  const since = (time: number) => `for ${seconds(now - time)}`
  switch (task.state) {
    case "done":
    case "dead":
    case "cancelled": {
      const reason = task.reason === undefined ? "" : ` (${task.reason})`
      return {
        task,
        cause: "ended",
        sentence: `It ended ${seconds(now - task.finishedAt!)} ago and is ${task.state}${reason}.`,
      }
    }
    case "scheduled":
      return {
        task,
        cause: "delayed",
        sentence: `It is scheduled and will be ready ${until(task.dueAt!)}.`,
      }
    case "retrying":
      return {
        task,
        cause: "backing_off",
        sentence: `Attempt ${task.attempt} ${lastOutcome(task)}. The next one can start ${until(task.dueAt!)}.`,
      }
    case "processing": {
      const worker = task.worker === undefined ? "an unnamed worker" : `worker ${task.worker}`
      const attempt = `attempt ${task.attempt} has been running on ${worker} ${since(task.startedAt!)}; its lease ends ${until(task.leaseExpiresAt!)}`
      return task.cancelRequestedAt === undefined
        ? { task, cause: "running", sentence: `It is running: ${attempt} unless it is extended.` }
        : {
            task,
            cause: "cancelling",
            sentence: `It is being cancelled; its worker is notified at its next extend: ${attempt}.`,
          }
    }
    case "queued": {
      const polledAt = isPolled ? now : polled === "" ? undefined : Number(polled)
      const atLeast = position < 0
      const ahead = higher + (atLeast ? 10_000 : position)
      const facts = { task, ahead, atLeast, ...(polledAt === undefined ? {} : { polledAt }) }
      if (paused !== "") {
        const pause = { pausedAt: Number(paused), ...(reason === "" ? {} : { pauseReason: reason }) }
        const why = `its queue has been paused ${since(pause.pausedAt)}${reason === "" ? "." : `: ${reason}`}`
        return { ...facts, ...blocked("paused", why), ...pause }
      }
      if (polledAt === undefined)
        return { ...facts, ...blocked("no_workers", "no worker has ever polled this queue.") }
      if (now - polledAt > NO_WORKERS_MS)
        return { ...facts, ...blocked("no_workers", `no worker has polled this queue ${since(polledAt)}.`) }
      if (held !== undefined)
        return { ...facts, ...explainGroup(queue, task.group!, held, heldUntil!, note!, holders!, now) }
      if (limited === 1) {
        const why = `its queue has reached its concurrency or rate limit; ${goFirst(ahead)}.`
        return { ...facts, ...blocked("limited", why) }
      }
      const others = ahead === 0 ? "it is next" : `${atLeast ? "at least " : ""}${goFirst(ahead)}`
      return { ...facts, cause: "waiting", sentence: `It is ready and waits for a worker: ${others}.` }
    }
    default:
      throw task.state satisfies never
  }
}

/** How the newest attempt ended, with the first line of its error. */
function lastOutcome({ history }: Task): string {
  const { outcome, error = "" } = JSON.parse(history.at(-1) ?? "{}") as Partial<Attempt>
  const said = error === "" ? "" : `: ${error.split("\n", 1)[0]!.slice(0, MAX_ERROR_CHARACTERS)}`
  return `${outcome === "released" ? "was released by its worker" : "did not succeed"}${said}`
}

/** A ready task that may not be leased. */
const blocked = (cause: Why["cause"], why: string) => ({ cause, sentence: `It is ready, but ${why}` })

/** Why no task of a group may be leased. */
function explainGroup(
  queue: string,
  group: string,
  held: HeldCause,
  until: number,
  note: string,
  holders: readonly string[],
  now: number,
): Pick<Why, "cause" | "sentence" | "blockedBy" | "heldUntil" | "pauseReason"> {
  const itsGroup = `its group ${JSON.stringify(group)}`
  const blockedBy = holders.map(id => joinId(queue, id))
  const next = `the next task can start in ${seconds(until - now)}.`
  const because = (why: string) => blocked(GROUP_CAUSES[held], why)
  switch (held) {
    case "concurrency":
      return { ...because(`${itsGroup} has reached its concurrency limit.`), blockedBy }
    case "order": {
      const earlier = blockedBy[0] ?? "an earlier task"
      return { ...because(`${itsGroup} is in strict order, and ${earlier} has not ended.`), blockedBy }
    }
    case "rate":
      return { ...because(`${itsGroup} has reached its rate limit; ${next}`), heldUntil: until }
    case "asked":
      return { ...because(`a worker has asked to hold ${itsGroup}; ${next}`), heldUntil: until }
    case "paused":
      return note === ""
        ? because(`${itsGroup} is paused.`)
        : { ...because(`${itsGroup} is paused: ${note}`), pauseReason: note }
    default:
      throw held satisfies never
  }
}

const goFirst = (count: number) => `${count} ${count === 1 ? "task goes" : "tasks go"} first`

const seconds = (ms: number) => `${(Math.max(0, ms) / 1_000).toFixed(1)} s`
