/** The screen of `top` as lines of text: the queues, and below them the groups, workers, schedules and dead tasks. */
import { paint, type Style } from "../terminal.ts"
import { isRunLate } from "../wire/attention.ts"
import type { DlqGroupsAnswer } from "../wire/dead-letters.ts"
import type { GroupView } from "../wire/grouping.ts"
import type { WorkerView } from "../wire/managing.ts"
import type { ScheduleView } from "../wire/scheduling.ts"
import { COUNTS, markOf, RATES, type ShownQueue, WORKERS } from "./queue-columns.ts"
import { formatAge, formatCount, left, right, safeText } from "./terminal-text.ts"

/** What the screen of `top` shows. */
export interface ScreenState {
  url: string
  queues: ShownQueue[]
  /** By what the queues are sorted, and whether backwards. The default is by name. */
  order?: string
  isReversed?: boolean
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

/** A piece of a line. With a style it is colored, except in the selected line. */
type Part = string | readonly [Style, string]
type Line = readonly Part[]

/** The lines of the screen, none wider than `columns`. The selected one begins with `>`. */
export function renderScreen(
  state: ScreenState,
  { columns, rows, colored = false }: { columns: number; rows: number; colored?: boolean },
): string[] {
  const { queues, groups, schedules, queueGroups, selected } = state
  const head = headLines(state)
  const chosen = queues.find(({ queue }) => queue === selected)
  const message = state.message ?? (chosen === undefined ? "" : explainMark(chosen))
  const isMainView = groups === undefined && schedules === undefined && queueGroups === undefined
  const keys = isMainView
    ? "up/down  p pause  enter dead  g groups  s schedules  o order  r reverse  q quit"
    : "esc back  q quit"
  const room = Math.max(1, rows - head.length - 3)
  let body: Line[]
  if (schedules !== undefined) body = plainLines(scheduleLines(schedules, columns))
  else if (queueGroups !== undefined) body = plainLines(queueGroupLines(queueGroups, selected!, columns))
  else if (groups !== undefined) body = plainLines(groupLines(groups, selected!, columns))
  else body = tables(state, columns, room)
  const lines: Line[] = [...head, ...body.slice(0, room + 1)]
  const empty = new Array<Line>(Math.max(0, rows - 2 - lines.length)).fill([])
  return [...lines, ...empty, [["yellow", message]], [["dim", keys]]]
    .map(line => drawLine(line as Line, columns, colored))
    .slice(0, rows)
}

function drawLine(line: Line, columns: number, colored: boolean): string {
  const isSelected = typeof line[0] === "string" && line[0].startsWith(">")
  let rest = columns
  const parts = line.map(part => {
    const [style, text] = typeof part === "string" ? [undefined, part] : part
    const fits = safeText(text, rest)
    rest -= Bun.stringWidth(fits)
    return style === undefined || fits === "" || !colored || isSelected ? fits : paint(style, fits)
  })
  return isSelected && colored ? paint("inverse", parts.join("")) : parts.join("")
}

/** A title and rows without colors of their own. */
const plainLines = ([title = "", ...lines]: string[]): Line[] => [
  [["bold", title]],
  ...lines.map(line => [line]),
]

/** The address and the time; the number of tasks and workers; the rates of all queues and their order. */
function headLines({ url, fault, more, queues, workers, order = "name", isReversed }: ScreenState): Line[] {
  const sum = (of: (queue: ShownQueue) => number | undefined) =>
    queues.reduce((total, queue) => total + (of(queue) ?? 0), 0)
  const live = workers?.filter(({ state }) => state === "live" || state === "draining").length ?? 0
  const dead = sum(COUNTS.dead.of)
  const rates = queues.some(({ rates }) => rates !== undefined)
    ? Object.values(RATES).map(({ title, of }) => `${formatCount(sum(of))} ${title.toLowerCase()}`)
    : []
  const sorted =
    order === "name" && !isReversed ? [] : [`sorted by ${order}${isReversed ? ", reversed" : ""}`]
  return [
    [
      `${url}  ${new Date().toLocaleTimeString("en-GB")}`,
      ["red", fault === undefined ? "" : `  NO ANSWER: ${fault}`],
    ],
    [
      `${more ? `first ${queues.length}` : queues.length} queues  `,
      `${formatCount(sum(({ depth }) => depth.queued + depth.delayed))} waiting  `,
      `${formatCount(sum(COUNTS.running.of))} running  `,
      dead > 0 ? ["red", `${formatCount(dead)} dead`] : "0 dead",
      workers === undefined ? "" : `  ${live} workers  ${workers.length - live} gone or stale`,
    ],
    [[...rates, ...sorted].join("  ")],
  ]
}

/** In a narrow column the mark is short, and the bottom line explains it for the selected queue. */
const WIDE_NAME = 26
function explainMark(queue: ShownQueue): string {
  const mark = markOf(queue)
  if (mark === "paused") return `paused: ${queue.pause_reason ?? "no reason given"}`
  return mark === undefined ? "" : "no workers: tasks wait, and no worker has polled this queue for a minute"
}

const SHORT_MARKS = { paused: " =", "no workers": " !" } as const
const MARK_STYLES = { paused: "yellow", "no workers": "red" } as const
const WORKER_STYLES: Partial<Record<WorkerView["state"], Style>> = {
  draining: "yellow",
  stale: "red",
  gone: "dim",
}

const roomForNames = (columns: number, shown: object): number =>
  Math.max(8, columns - 8 * Object.keys(shown).length - 2)

function tables(
  { queues, workers = [], selected, order }: ScreenState,
  columns: number,
  room: number,
): Line[] {
  const hasRates = queues.some(({ rates }) => rates !== undefined)
  const hasWorkers = queues.some(({ workers }) => workers !== undefined)
  // A narrow terminal shows fewer columns, so that names have room.
  const nameWidth = Math.min(WIDE_NAME, Math.max(0, ...queues.map(({ queue }) => Bun.stringWidth(queue))))
  const rates = columns >= 80 && roomForNames(columns, { ...COUNTS, ...RATES }) >= nameWidth ? RATES : {}
  const shown = Object.entries({
    ...COUNTS,
    ...(hasRates ? rates : {}),
    ...(columns >= 100 && hasWorkers ? WORKERS : {}),
  })
  const width = roomForNames(columns, shown)
  const forWorkers = Math.min(workers.length, Math.max(0, Math.floor(room / 3) - 2))
  const space = room - (forWorkers > 0 ? forWorkers + 2 : 0)
  const selectedIndex = Math.max(
    0,
    queues.findIndex(({ queue }) => queue === selected),
  )
  const first = Math.max(0, Math.min(selectedIndex - Math.floor(space / 2), queues.length - space))
  const title: Line = [
    ["bold", `  ${left("QUEUE", width)}`],
    ...shown.map(([name, { title }]): Part => [name === order ? "cyan" : "bold", right(title, 8)]),
  ]
  const rows: Line[] = queues.slice(first, first + space).map(queue => {
    const mark = markOf(queue)
    const label = mark === undefined ? "" : width < WIDE_NAME ? SHORT_MARKS[mark] : ` [${mark}]`
    const name = safeText(queue.queue, width - label.length)
    const gap = " ".repeat(Math.max(0, width - Bun.stringWidth(name) - label.length))
    return [
      `${queue.queue === selected ? ">" : " "} ${name}`,
      mark === undefined ? "" : [MARK_STYLES[mark], label],
      gap,
      ...shown.map(([name, { of, format }]): Part => {
        const value = of(queue)
        const cell = right(format(value), 8)
        return (name === "dead" || name === "fail") && value ? ["red", cell] : cell
      }),
    ]
  })
  if (rows.length === 0) rows.push(["  No queues yet. A queue is created by its first task."])
  if (forWorkers === 0) return [title, ...rows]
  const worker = (name: string, cells: string[], of: string) =>
    `  ${left(name, 28)}${cells.map(cell => right(cell, 9)).join("")}  ${of}`
  return [
    ...[title, ...rows, []],
    [["bold", worker("WORKER", ["STATE", "IN HAND", "DONE", "FAILED"], "QUEUES")]],
    ...workers.slice(0, forWorkers).map(({ worker: name, state, in_hand, done, failed, queues }): Line => {
      const text = worker(
        name,
        [safeText(state, 8), formatCount(in_hand), formatCount(done), formatCount(failed)],
        queues.join(" "),
      )
      const style = WORKER_STYLES[state]
      return [style === undefined ? text : [style, text]]
    }),
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
    ...schedules.map(view =>
      line(
        view.schedule,
        nextIn(view),
        view.last === undefined ? "-" : (view.last.state ?? "deleted"),
        [view.fired, view.missed, view.skipped].map(formatCount),
      ),
    ),
  ]
}

function nextIn(schedule: Omit<ScheduleView, "task" | "next">): string {
  const { paused, next_at } = schedule
  if (paused) return "paused"
  if (next_at === undefined) return "ended"
  const now = Date.now()
  return isRunLate(schedule, now) ? "late" : formatAge(Math.max(0, next_at - now))
}
