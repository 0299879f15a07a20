/** All recorded events of one task in order, to find the cause of a violation. */
import type { Violation } from "./checker.ts"
import { readHistory } from "./history.ts"

export interface Timeline {
  n: number
  lines: string[]
}

/** The times of all entries about each of these tasks. */
export async function timesOf(
  tasks: Iterable<number>,
  files: readonly string[],
): Promise<Map<number, number[]>> {
  const times = new Map([...tasks].map(n => [n, [] as number[]]))
  for (const file of files) await readEntries(file, (n, at) => times.get(n)?.push(at))
  return times
}

/** The number of violations among which the task with the fewest entries is selected. */
const MOST = 1_000

export async function shortestTimeline(
  violations: readonly Violation[],
  files: readonly string[],
): Promise<Timeline | undefined> {
  const entries = new Map<number, { at: number; line: string }[]>()
  for (const { n } of violations.slice(0, MOST)) entries.set(n, [])
  if (entries.size === 0) return undefined
  for (const file of files)
    await readEntries(file, (n, at, line) => {
      entries.get(n)?.push({ at, line })
    })
  const [n, lines] = [...entries].reduce((least, one) => (one[1].length < least[1].length ? one : least))
  return { n, lines: lines.sort((a, b) => a.at - b.at).map(({ line }) => line) }
}

async function readEntries(
  file: string,
  onEntry: (n: number, at: number, line: string) => void,
): Promise<void> {
  const who = file.slice(file.lastIndexOf("/") + 1, file.lastIndexOf("."))
  /** The tasks of each call. */
  const calls = new Map<number, number[]>()
  for await (const entry of readHistory(file)) {
    const at = entry[1]
    const note = (n: number, text: string) => onEntry(n, at, `${at} ${who}: ${text}`)
    const each = (call: number, text: (i: number) => string) => {
      for (const [i, n] of (calls.get(call) ?? []).entries()) note(n, `call ${call}: ${text(i)}`)
    }
    switch (entry[0]) {
      case "submit": {
        const { from, count, ...rest } = entry[3]
        calls.set(
          entry[2],
          Array.from({ length: count }, (_, i) => from + i),
        )
        each(entry[2], () => `submit ${JSON.stringify(rest)}, one task of ${count}`)
        break
      }
      case "leased":
        for (const [n, id, lease, granted, expires] of entry[2])
          note(n, `leased ${id} under ${lease}, from ${granted} to ${expires}`)
        break
      case "ran":
        for (const [n, lease] of entry[2]) note(n, `ran under ${lease}`)
        break
      case "extended":
        for (const [n, lease, expires] of entry[2]) note(n, `${lease} extended to ${expires}`)
        break
      case "ack":
        calls.set(
          entry[2],
          entry[3].map(([n]) => n),
        )
        each(entry[2], i => `ack ${entry[3][i]![3]} under ${entry[3][i]![2]}`)
        break
      case "cancel":
      case "redrive":
        calls.set(entry[2], [entry[3]])
        note(entry[3], `call ${entry[2]}: ${entry[0]} ${entry[4]}`)
        break
      case "submitted":
      case "acked":
        each(entry[2], i => `answered ${entry[3][i] || "queued"}`)
        break
      case "cancelled":
      case "redriven":
      case "unanswered":
        each(entry[2], () => `answered ${entry[3]}`)
        break
      case "answered":
        break
      default:
        throw entry satisfies never
    }
  }
}
