/** The guarantees of groups, checked from what workers recorded: limits at every instant, and strict order. */
import type { TaskRecord, Violation } from "./checker.ts"
import { GROUP_LIMITS, groupOf } from "./workload.ts"

type Tasks = ReadonlyMap<number, TaskRecord>
type Wrong = (violation: Violation) => void

export function judgeGroups(tasks: Tasks, wrong: Wrong): void {
  const grouped = [...tasks].filter(([, { batch, grants }]) => batch?.grouped && grants.length > 0)
  for (const same of Map.groupBy(grouped, ([n, { batch }]) => `${batch!.queue} ${groupOf(n)}`).values()) {
    const { concurrency, order } = GROUP_LIMITS[same[0]![1].batch!.queue] ?? {}
    const most = order === "strict" ? 1 : concurrency
    if (most !== undefined) judgeLimit(same, most, wrong)
    if (order === "strict") judgeOrder(same, wrong)
  }
}

/** At no instant may more tasks than allowed have a lease that certainly had not ended. */
function judgeLimit(tasks: Iterable<[number, TaskRecord]>, most: number, wrong: Wrong): void {
  const changes: { at: number; by: 1 | -1; n: number }[] = []
  for (const [n, { grants, settlings }] of tasks)
    for (const { lease, granted, expires } of grants) {
      const acks = settlings.filter(settling => settling.lease === lease || settling.lease === "")
      const end = Math.min(expires, ...acks.map(({ firstCall }) => firstCall))
      if (end > granted) changes.push({ at: granted, by: 1, n }, { at: end, by: -1, n })
    }
  changes.sort((a, b) => a.at - b.at || a.by - b.by)
  let running = 0
  for (const { by, n, at } of changes) {
    running += by
    if (by === 1 && running > most)
      wrong({
        check: "group limit",
        n,
        what: `at ${at}, ${running} tasks of ${groupOf(n)} were leased, of ${most} allowed`,
      })
  }
}

/** Once a task of a strict group was leased, an earlier one of its request must have ended for good. */
function judgeOrder(tasks: Iterable<[number, TaskRecord]>, wrong: Wrong): void {
  for (const same of Map.groupBy(tasks, ([, { batch }]) => batch!.from).values()) {
    const inOrder = same
      .filter(([, { redriveAt, duplicates }]) => redriveAt === Number.POSITIVE_INFINITY && duplicates === 0)
      .sort(([a], [b]) => a - b)
    for (const [i, [n, { grants }]] of inOrder.entries()) {
      const next = inOrder[i + 1]
      if (next === undefined || next[1].batch!.delayMs !== undefined) continue
      const last = Math.max(...grants.map(({ granted }) => granted))
      const first = Math.min(...next[1].grants.map(({ granted }) => granted))
      if (last > first)
        wrong({
          check: "group order",
          n,
          what: `it was leased ${last - first} ms after the later task ${next[0]} of ${groupOf(n)}`,
        })
    }
  }
}
