/**
 * What happened in one minute or hour: to a queue, to the tasks of one type, or to all queues. Points can be added. In
 * Redis a point is text: counts, waits and runs, separated by `|`. Each count is a letter and a number.
 */
import { bucketOf } from "../wire/durations.ts"

const COUNT_LETTERS = {
  s: "submitted",
  d: "done",
  f: "failed",
  l: "lapsed",
  x: "dead",
  m: "minutes",
} as const
/** Of two depths the larger one is kept; see lua/history-add.lua. */
const DEPTH_LETTERS = { q: "queued", y: "delayed", p: "processing" } as const
export type DepthCounts = Record<(typeof DEPTH_LETTERS)[keyof typeof DEPTH_LETTERS], number>
const BUCKET_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

export class Point {
  submitted = 0
  done = 0
  failed = 0
  lapsed = 0
  dead = 0
  /** Of an hour of all queues: in how many minutes a broker ran. */
  minutes = 0
  /** Undefined if nobody has read it. */
  depth: DepthCounts | undefined
  /** Histograms of the times from submit to first lease and from lease to ack; see wire/durations.ts. May be shorter. */
  readonly wait: number[] = []
  readonly run: number[] = []

  observe(what: "wait" | "run", ms: number, times = 1): void {
    const bucket = bucketOf(ms)
    const counts = this[what]
    while (counts.length <= bucket) counts.push(0)
    counts[bucket]! += times
  }

  /** How much happened, to compare types. */
  get weight(): number {
    return this.submitted + this.done + this.failed + this.lapsed + this.dead
  }

  get isEmpty(): boolean {
    return this.weight === 0 && ![...this.wait, ...this.run].some(count => count > 0)
  }

  copy(): Point {
    const copy = new Point()
    copy.add(this)
    return copy
  }

  /** Adds what happened; the depth is not added. */
  add(other: Point): void {
    for (const name of Object.values(COUNT_LETTERS)) this[name] += other[name]
    for (const what of ["wait", "run"] as const)
      other[what].forEach((count, i) => {
        while (this[what].length <= i) this[what].push(0)
        this[what][i]! += count
      })
  }

  /** Removes what another point has counted, as far as this one has counted it. */
  subtract(other: Point): void {
    for (const name of Object.values(COUNT_LETTERS)) this[name] = Math.max(0, this[name] - other[name])
    for (const what of ["wait", "run"] as const)
      this[what].forEach((count, i) => {
        this[what][i] = Math.max(0, count - (other[what][i] ?? 0))
      })
  }

  encode(): string {
    let text = ""
    for (const [letter, name] of Object.entries(COUNT_LETTERS))
      if (this[name] > 0) text += letter + this[name]
    if (this.depth)
      for (const [letter, name] of Object.entries(DEPTH_LETTERS)) text += letter + this.depth[name]
    return `${text}|${encodeHistogram(this.wait)}|${encodeHistogram(this.run)}`
  }

  static decode(text: string): Point {
    const point = new Point()
    const waitAt = text.indexOf("|")
    const runAt = text.indexOf("|", waitAt + 1)
    readNumbers(text, 0, waitAt, (letter, number) => {
      if (letter in COUNT_LETTERS) point[COUNT_LETTERS[letter as keyof typeof COUNT_LETTERS]] = number
      const depth = DEPTH_LETTERS[letter as keyof typeof DEPTH_LETTERS]
      if (depth === undefined) return
      point.depth ??= { queued: 0, delayed: 0, processing: 0 }
      point.depth[depth] = number
    })
    decodeHistogram(point.wait, text, waitAt + 1, runAt)
    decodeHistogram(point.run, text, runAt + 1, text.length)
    return point
  }
}

function encodeHistogram(counts: readonly number[]): string {
  let text = ""
  for (let i = 0; i < counts.length; i++) if (counts[i]! > 0) text += BUCKET_LETTERS[i]! + counts[i]!
  return text
}

function decodeHistogram(counts: number[], text: string, from: number, to: number): void {
  readNumbers(text, from, to, (letter, number) => {
    const bucket = BUCKET_LETTERS.indexOf(letter)
    while (counts.length <= bucket) counts.push(0)
    counts[bucket] = number
  })
}

/** Reads letters and their numbers. A page of queues has a thousand points, and a regular expression takes 20 µs for each. */
function readNumbers(
  text: string,
  from: number,
  to: number,
  found: (letter: string, number: number) => void,
): void {
  for (let at = from; at < to; ) {
    const letter = text[at++]!
    let number = 0
    for (let digit = text.charCodeAt(at) - 48; digit >= 0 && digit <= 9; digit = text.charCodeAt(++at) - 48)
      number = number * 10 + digit
    found(letter, number)
  }
}
