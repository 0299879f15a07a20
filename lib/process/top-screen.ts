import type { DlqGroupsAnswer } from "../wire/dead-letters.ts"
import type { GroupView } from "../wire/grouping.ts"
import type { QueueView, WorkerView } from "../wire/managing.ts"
import type { ScheduleView } from "../wire/scheduling.ts"
import { formatAge, formatCount, left, right, safeText } from "./terminal-text.ts"

/** What the screen of `top` shows. */
export interface ScreenState {
  url: string
  queues: (Omit<QueueView, "rates" | "recent" | "workers"> & { rates?: Readonly<Record<string, number>> })[]
  /** undefined if the broker does not list its workers. */
  workers?: Pick<WorkerView, "worker" | "state" | "in_hand" | "done" | "failed" | "queues">[] | undefined
  /** Whether the broker has more queues than it returned. */
  more?: boolean
  /** The queue that keys act on. */
  selected?: string | undefined
  /** The groups of dead tasks of the selected queue, while they are shown. */
  groups?: DlqGroupsAnswer["groups"] | undefined
  /** The schedules that run next, while they are shown. */
  schedules?: readonly Omit<ScheduleView, "task" | "next">[] | undefined
  /** The groups of the selected queue, while they are shown. */
  queueGroups?: readonly GroupView[] | undefined
  /** Why there was no answer. What is shown is then out of date. */
  fault?: string | undefined
  /** The result of the last key press. */
  message?: string | undefined
}

const COUNTS: [title: string, of: (queue: ScreenState["queues"][number]) => string][] = [
  ["QUEUED", ({ depth }) => formatCount(depth.queued)],
  ["DELAYED", ({ depth }) => formatCount(depth.delayed)],
  ["RUNNING", ({ depth }) => formatCount(depth.processing)],
  ["DEAD", ({ depth }) => formatCount(depth.dead)],
  ["OLDEST", queue => formatAge(queue.oldest_waiting_ms)],
]
const RATES: typeof COUNTS = [
  ["IN/S", ({ rates }) => formatCount(rates?.submitted)],
  ["DONE/S", ({ rates }) => formatCount(rates?.done)],
  ["FAIL/S", ({ rates }) => formatCount(rates?.failed)],
]

/** The lines of the screen, none longer than `columns`. The selected one begins with `>`. */
export function renderScreen(
  state: ScreenState,
  { columns, rows }: { columns: number; rows: number },
): string[] {
  const { queues, workers, groups, schedules, queueGroups, selected } = state
  const sum = (of: (queue: ScreenState["queues"][number]) => number) =>
    formatCount(queues.reduce((total, queue) => total + of(queue), 0))
  const live = workers?.filter(({ state }) => state === "live" || state === "draining").length
  const head = [
    `${state.url}  ${new Date().toLocaleTimeString("en-GB")}${state.fault === undefined ? "" : `  NO ANSWER: ${state.fault}`}`,
    [
      `${state.more ? `first ${queues.length}` : queues.length} queues`,
      `${sum(({ depth }) => depth.queued + depth.delayed)} waiting`,
      `${sum(({ depth }) => depth.processing)} running`,
      `${sum(({ depth }) => depth.dead)} dead`,
      ...(workers === undefined ? [] : [`${live} workers`, `${workers.length - live!} gone or stale`]),
    ].join("  "),
    "",
  ]
  const pausedQueue = queues.find(({ queue, paused }) => queue === selected && paused)
  const message =
    state.message ??
    (pausedQueue === undefined ? "" : `paused: ${pausedQueue.pause_reason ?? "no reason given"}`)
  const keys =
    groups === undefined && schedules === undefined && queueGroups === undefined
      ? "up/down select  p pause/resume  enter dead tasks  g groups  s schedules  q quit"
      : "esc back  q quit"
  const room = Math.max(1, rows - head.length - 3)
  let body = tables(state, columns, room)
  if (schedules !== undefined) body = scheduleLines(schedules, columns)
  else if (queueGroups !== undefined) body = queueGroupLines(queueGroups, selected!, columns)
  else if (groups !== undefined) body = groupLines(groups, selected!, columns)
  const lines = [...head, ...body.slice(0, room + 1)]
  return [...lines, ...new Array(Math.max(0, rows - 2 - lines.length)).fill(""), message, keys]
    .map(line => safeText(line, columns))
    .slice(0, rows)
}

function tables({ queues, workers = [], selected }: ScreenState, columns: number, room: number): string[] {
  // A narrow terminal shows no rates, so that names have room.
  const showRates = columns >= 80 && queues.some(({ rates }) => rates !== undefined)
  const of = showRates ? [...COUNTS, ...RATES] : COUNTS
  const width = Math.max(8, columns - 8 * of.length - 2)
  const line = (mark: string, name: string, cells: string[]) =>
    `${mark} ${left(name, width)}${cells.map(cell => right(cell, 8)).join("")}`
  const forWorkers = Math.min(workers.length, Math.max(0, Math.floor(room / 3) - 2))
  const space = room - (forWorkers > 0 ? forWorkers + 2 : 0)
  const selectedIndex = Math.max(
    0,
    queues.findIndex(({ queue }) => queue === selected),
  )
  const first = Math.max(0, Math.min(selectedIndex - Math.floor(space / 2), queues.length - space))
  const title = line(
    " ",
    "QUEUE",
    of.map(([title]) => title),
  )
  const rows = queues.slice(first, first + space).map(queue => {
    const name = queue.paused ? `${safeText(queue.queue, width - 9)} [paused]` : queue.queue
    return line(
      queue.queue === selected ? ">" : " ",
      name,
      of.map(([, cell]) => cell(queue)),
    )
  })
  if (rows.length === 0) rows.push("  No queues yet. A queue is created by its first task.")
  if (forWorkers === 0) return [title, ...rows]
  const worker = (name: string, cells: string[], of: string) =>
    `  ${left(name, 28)}${cells.map(cell => right(cell, 9)).join("")}  ${of}`
  return [
    ...[title, ...rows, "", worker("WORKER", ["STATE", "IN HAND", "DONE", "FAILED"], "QUEUES")],
    ...workers
      .slice(0, forWorkers)
      .map(({ worker: name, state, in_hand, done, failed, queues }) =>
        worker(
          name,
          [safeText(state, 8), formatCount(in_hand), formatCount(done), formatCount(failed)],
          queues.join(" "),
        ),
      ),
  ]
}

function groupLines(groups: DlqGroupsAnswer["groups"], queue: string, columns: number): string[] {
  if (groups.length === 0) return [`  Queue ${queue} has no dead tasks.`]
  const line = (dead: string, newest: string, type: string, reason: string, error: string) =>
    `  ${right(dead, 7)}${right(newest, 8)}  ${left(type, 16)} ${left(reason, 10)} ${safeText(error, Math.max(1, columns - 47))}`
  return [
    line("DEAD", "NEWEST", "TYPE", "REASON", "ERROR"),
    ...groups.map(group =>
      line(
        formatCount(group.count),
        formatAge(Date.now() - group.last_at),
        group.type,
        group.reason,
        group.error ?? "",
      ),
    ),
  ]
}

function queueGroupLines(groups: readonly GroupView[], queue: string, columns: number): string[] {
  if (groups.length === 0) return [`  Queue ${queue} has no groups.`]
  const width = Math.max(8, columns - 2 - 3 * 9 - 13)
  const line = (name: string, counts: string[], held: string) =>
    `  ${left(name, width)}${counts.map(count => right(count, 9)).join("")}  ${left(held, 11)}`
  return [
    line("GROUP", ["WAITING", "RUNNING", "OLDEST"], "HELD"),
    ...groups.map(({ group, waiting, processing, oldest_waiting_ms, held }) =>
      line(
        group,
        [formatCount(waiting), formatCount(processing), formatAge(oldest_waiting_ms)],
        held?.cause ?? "-",
      ),
    ),
  ]
}

function scheduleLines(schedules: NonNullable<ScreenState["schedules"]>, columns: number): string[] {
  if (schedules.length === 0) return ["  No schedules."]
  const width = Math.max(8, columns - 2 - 9 - 11 - 3 * 8)
  const line = (name: string, next: string, last: string, counts: string[]) =>
    `  ${left(name, width)}${right(next, 9)}${right(last, 11)}${counts.map(count => right(count, 8)).join("")}`
  return [
    line("SCHEDULE", "NEXT IN", "LAST", ["FIRED", "MISSED", "SKIPPED"]),
    ...schedules.map(({ schedule, next_at, paused, last, fired, missed, skipped }) =>
      line(
        schedule,
        paused ? "paused" : next_at === undefined ? "ended" : formatAge(Math.max(0, next_at - Date.now())),
        last === undefined ? "-" : (last.state ?? "deleted"),
        [fired, missed, skipped].map(formatCount),
      ),
    ),
  ]
}
