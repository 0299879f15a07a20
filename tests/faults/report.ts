/** The report of a run, as a page of text and as JSON. */
import type { Done } from "./faults.ts"
import type { Result } from "./run.ts"

export const broken = ({ violations, ofTheWhole }: Result): boolean =>
  violations.length + ofTheWhole.length > 0

interface Spread {
  medianMs: number | undefined
  worstMs: number | undefined
}

interface Recovery extends Spread {
  kind: string
  times: number
  /** How many of them no other fault distorted. The times, in ms, are of these. */
  clean: number
  /** The same for a failover, counted from the failure of the master. The other times count from the promotion. */
  fromFault?: Spread
  /** The same for a restarted Redis, counted from when it had loaded its data. The other times count from its start. */
  fromReturn?: Spread
}

/** The time from the end of the fault to the first successful call, by kind. */
function recoveries(faults: readonly Done[]): Recovery[] {
  const byKind = Map.groupBy(faults, ({ kind }) => kind)
  return [...byKind]
    .map(([kind, of]) => {
      const clean = of.filter(fault => fault.recoveredAt !== undefined && isClean(fault, faults))
      return {
        kind,
        times: of.length,
        clean: clean.length,
        ...spread(clean.map(({ healedAt, recoveredAt }) => recoveredAt! - healedAt)),
        ...(of[0]!.failover
          ? { fromFault: spread(clean.map(({ beganAt, recoveredAt }) => recoveredAt! - beganAt)) }
          : {}),
        // A probe may succeed before the code that waits for the server notices it.
        ...(of[0]!.backAt !== undefined
          ? {
              fromReturn: spread(clean.map(({ backAt, recoveredAt }) => Math.max(0, recoveredAt! - backAt!))),
            }
          : {}),
      }
    })
    .sort((a, b) => a.kind.localeCompare(b.kind))
}

function spread(times: number[]): Spread {
  times.sort((a, b) => a - b)
  return { medianMs: times[times.length >> 1], worstMs: times.at(-1) }
}

/** The numbers of tasks with violations that Redis may cause, by check. */
const lossOf = ({ allowed }: Result): Record<string, number> =>
  Object.fromEntries(
    [...Map.groupBy(allowed, ({ check }) => check)].map(([check, of]) => [
      check,
      new Set(of.map(({ n }) => n)).size,
    ]),
  )

/**
 * Whether no other fault overlapped its recovery: a fault of the same brokers or, for the fault of a worker, of any broker.
 */
function isClean(fault: Done, all: readonly Done[]): boolean {
  const { healedAt, recoveredAt = healedAt, touches } = fault
  return !all.some(
    other =>
      other !== fault &&
      other.beganAt < recoveredAt &&
      (other.recoveredAt ?? other.healedAt) >= healedAt &&
      other.touches.some(index => touches.length === 0 || touches.includes(index)),
  )
}

/** For --json. */
export function figures(result: Result) {
  const { options, counts, refusals, violations, ofTheWhole, shortest, ownDeaths } = result
  const { seed, faults, tasks, brokers, workers, clients } = options
  const seconds = (ms: number) => Math.round(ms / 100) / 10
  return {
    seed,
    redis: result.redis,
    asked: { faults, tasks, brokers, workers, clients },
    faults: result.faults.length,
    failovers: result.faults.filter(({ failover }) => failover).length,
    counts,
    refusals,
    recovery: recoveries(result.faults),
    workers_killed_by_tasks: ownDeaths,
    asked_again_after_all_was_healed: result.askedAgain,
    workload_s: seconds(result.workloadMs),
    drain_s: seconds(result.drainMs),
    check_s: seconds(result.checkMs),
    tasks_per_second: Math.round(counts.tasks / ((result.workloadMs + result.drainMs) / 1_000)),
    ...(result.mayLose ? { lost_in_failovers: lossOf(result) } : {}),
    violations: violations.length,
    by_check: Object.fromEntries(
      [...Map.groupBy(violations, ({ check }) => check)].map(([check, of]) => [check, of.length]),
    ),
    examples: violations.slice(0, 20),
    whole: ofTheWhole,
    shortest,
  }
}

export function page(result: Result): string {
  const { counts, refusals, violations, ofTheWhole, shortest, options } = result
  const all = figures(result)
  const list = (record: Record<string, number>) =>
    Object.entries(record)
      .map(([name, n]) => `${n} ${name}`)
      .join(", ")
  const lines = [
    `seed ${options.seed}: ${counts.tasks} tasks, ${counts.calls} calls (${counts.unanswered} without an answer), ${result.faults.length} faults`,
    `on ${result.redis}`,
    `workload ${all.workload_s} s, drain ${all.drain_s} s, ${all.tasks_per_second} tasks/s; checked in ${all.check_s} s`,
    `submits    ${counts.kept} answered, ${counts.recovered} recovered without an answer, ${counts.vanished} without an answer and not stored, ${counts.duplicates} whose unique key was taken`,
    `ends       ${counts.done} done, ${counts.dead} dead, ${counts.cancelled} cancelled, ${counts.unseen} not observed`,
    `leases     ${counts.handedOut}, of which ${counts.again} repeated; ${counts.runs} runs, of which ${counts.runsAgain} repeated`,
    `           ${counts.lapsed} not settled by their holder; ${counts.lateAcksRefused} late acks refused`,
    `events     ${counts.events} of one queue judged`,
    `refusals   ${list(refusals)}`,
    `workers    ${all.workers_killed_by_tasks} killed by their tasks, in addition to faults`,
    "",
    "fault                                        times  recovery of  median    worst ms",
    ...all.recovery.map(
      ({ kind, times, clean, medianMs = "–", worstMs = "–" }) =>
        `${kind.padEnd(44)} ${`${times}`.padStart(5)} ${`${clean}`.padStart(12)} ${`${medianMs}`.padStart(7)} ${`${worstMs}`.padStart(8)}`,
    ),
    "",
  ]
  const from = (since: "fromFault" | "fromReturn") => {
    const times = all.recovery.flatMap(({ kind, [since]: spread }) =>
      spread === undefined
        ? []
        : [`  ${kind}: median ${spread.medianMs ?? "–"}, worst ${spread.worstMs ?? "–"}`],
    )
    return times.length === 0 ? [] : [...times, ""]
  }
  const failovers = from("fromFault")
  if (failovers.length > 0)
    lines.push(
      `${all.failovers} failovers; the table counts from the promotion. From the fault, in ms:`,
      ...failovers,
    )
  const returns = from("fromReturn")
  if (returns.length > 0)
    lines.push(
      "Of a Redis started again the table counts from its start. From when it had read its data, in ms:",
      ...returns,
    )
  const loss = lossOf(result)
  if (result.mayLose)
    lines.push(
      `lost: ${loss.lost ?? 0} of ${counts.kept} confirmed (allowed: with so few WAIT_REPLICAS, the asynchronous replication of Redis may lose writes)`,
      `other tasks that a failover reverted: ${list(loss) || "none"}`,
    )
  if (!broken(result))
    lines.push(
      result.mayLose ? "nothing else was broken" : "no task was lost or finished twice: every guarantee held",
    )
  else {
    lines.push(`VIOLATED: ${list(all.by_check) || "no single task"}`)
    lines.push(...ofTheWhole)
    for (const { check, n, what } of violations.slice(0, 10)) lines.push(`  ${check}: task ${n}: ${what}`)
    if (shortest !== undefined)
      lines.push(`the shortest history, of task ${shortest.n}:`, ...shortest.lines.map(line => `  ${line}`))
    lines.push(
      `repeat: bun run faults --seed ${options.seed} --${options.failovers === undefined ? `faults ${options.faults}` : `failovers ${options.failovers}`} --tasks ${options.tasks}`,
    )
  }
  return lines.join("\n")
}
