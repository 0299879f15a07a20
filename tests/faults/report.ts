/** What a run comes to, on one page and as figures. */
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
  /** How many of them no other fault blurred: of those are the times, in ms. */
  clean: number
  /** Of a failover the same, from when the master failed; the others count from the promotion. */
  fromFault?: Spread
  /** Of a Redis that was started again the same, from when it had read its data; the others count from its start. */
  fromReturn?: Spread
}

/** From the end of the fault to the first call that came through, by kind. */
export function recoveries(faults: readonly Done[]): Recovery[] {
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
        // A probe may come through before whoever waits for the server has seen it.
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

/** The tasks of which a promise was broken that Redis may break, by promise. */
const lossOf = ({ allowed }: Result): Record<string, number> =>
  Object.fromEntries(
    [...Map.groupBy(allowed, ({ check }) => check)].map(([check, of]) => [
      check,
      new Set(of.map(({ n }) => n)).size,
    ]),
  )

/** Whether no other fault was in its way between its end and its recovery: one of the same brokers; of a worker's, any broker's. */
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
    `submits    ${counts.kept} answered, ${counts.recovered} recovered without an answer, ${counts.vanished} without an answer and not there, ${counts.duplicates} whose unique key was taken`,
    `ends       ${counts.done} done, ${counts.dead} dead, ${counts.cancelled} cancelled, ${counts.unseen} unseen`,
    `hand-outs  ${counts.handedOut}, of which ${counts.again} again; ${counts.runs} runs, of which ${counts.runsAgain} again`,
    `leases     ${counts.lapsed} were not settled by their holder; ${counts.lateAcksRefused} late acks refused`,
    `refusals   ${list(refusals)}`,
    `workers    ${all.workers_killed_by_tasks} killed by their tasks, beside the faults`,
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
      `lost: ${loss.lost ?? 0} of ${counts.kept} answered (allowed: so few WAIT_REPLICAS do not rule it out, as Redis' replication is asynchronous)`,
      `other tasks that a failover took back a step: ${list(loss) || "none"}`,
    )
  if (!broken(result))
    lines.push(
      result.mayLose ? "nothing else was broken" : "nothing lost, nothing doubled: every promise held",
    )
  else {
    lines.push(`BROKEN: ${list(all.by_check) || "no task by itself"}`)
    lines.push(...ofTheWhole)
    for (const { check, n, what } of violations.slice(0, 10)) lines.push(`  ${check}: task ${n}: ${what}`)
    if (shortest !== undefined)
      lines.push(`the shortest history, of task ${shortest.n}:`, ...shortest.lines.map(line => `  ${line}`))
    lines.push(
      `again: bun run faults --seed ${options.seed} --${options.failovers === undefined ? `faults ${options.faults}` : `failovers ${options.failovers}`} --tasks ${options.tasks}`,
    )
  }
  return lines.join("\n")
}
