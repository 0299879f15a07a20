/**
 * A page of Prometheus' text, and one metric that every queue has: its lines are kept as bytes, and only a number that
 * has changed is written, into its place. For 1,000 queues prom-client takes 80 ms and more, at every scrape.
 */
import type { Histogram } from "./counters.ts"

/** How many queues' lines are kept together. */
const TOGETHER = 100
const BLANK = 0x20

export interface QueueMetric<Of> {
  name: string
  type: "gauge" | "counter" | "histogram"
  help: string
  /** What stands between the metric's name and each value, for the label of a queue: `queue="a"`. */
  heads: (label: string) => readonly string[]
  values: (of: Of) => readonly number[]
  /** Another one whenever a value is another, where that is sooner told than all values. */
  mark?: (of: Of) => number
}

/**
 * The bytes of a page. What families tell stands in it where they rewrite it, and is copied only where something needs
 * another place: a megabyte takes the system longer to give, and to move, than most of it to stay as it is.
 */
export class MetricsPage {
  readonly #bytes: Buffer
  /** Where the rest begins. */
  readonly #from: number

  constructor(families: readonly Pick<QueueFamily<never>, "size" | "place">[], rest: string) {
    const size = families.reduce((sum, family) => sum + family.size, 0)
    this.#bytes = Buffer.allocUnsafe(size + 2 * rest.length)
    this.#from = families.reduce((at, family) => family.place(this.#bytes, at), 0)
  }

  /** All of it, with this rest; undefined: it has no room for that. */
  with(rest: string): Buffer | undefined {
    const end = this.#from + rest.length
    if (end > this.#bytes.length) return undefined
    this.#bytes.write(rest, this.#from, "latin1")
    return this.#bytes.subarray(0, end)
  }
}

/** One metric of all queues. */
export class QueueFamily<Of extends { readonly queue: string }> {
  readonly #head: string
  #blocks: Lines<Of>[] = []
  /** Of how many queues it has written values so far: what pages cost. */
  written = 0

  constructor(readonly told: QueueMetric<Of>) {
    const { name, type, help } = told
    this.#head = `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`
  }

  /** Writes what has changed, and tells whether it needs another place. */
  update(all: readonly Of[]): boolean {
    const before = this.#blocks
    this.#blocks = Array.from({ length: Math.ceil(all.length / TOGETHER) }, (_, i) => {
      const queues = all.slice(i * TOGETHER, (i + 1) * TOGETHER)
      const written = before[i]?.rewrite(queues)
      this.written += written ?? queues.length
      return written === undefined ? new Lines(this.told, queues) : before[i]!
    })
    return this.#blocks.length !== before.length || this.#blocks.some((block, i) => block !== before[i])
  }

  get size(): number {
    return this.#blocks.reduce((sum, { bytes }) => sum + bytes.length, this.#head.length + 1)
  }

  /** Goes on there, and answers where it ends. */
  place(bytes: Buffer, from: number): number {
    let at = from + bytes.write(this.#head, from, "latin1")
    for (const block of this.#blocks) {
      const end = at + block.bytes.copy(bytes, at)
      block.bytes = bytes.subarray(at, end)
      at = end
    }
    return at + bytes.write("\n", at, "latin1")
  }
}

/**
 * The lines of some queues. A value stands at the right of a field that is as wide as the widest: so the next one is
 * written in its place, and the rest of the text stays as it is.
 */
class Lines<Of extends { readonly queue: string }> {
  bytes: Buffer
  readonly #queues: string[]
  readonly #marks: (number | undefined)[]
  readonly #values: number[]
  /** Where the fields of all values end. */
  readonly #ends: number[] = []
  readonly #width: number

  constructor(
    private readonly told: QueueMetric<Of>,
    all: readonly Of[],
  ) {
    this.#queues = all.map(({ queue }) => queue)
    this.#marks = all.map(of => told.mark?.(of))
    this.#values = all.flatMap(told.values)
    const values = this.#values.map(written)
    this.#width = Math.max(...values.map(({ length }) => length))
    const heads = all.flatMap(({ queue }) => told.heads(labelOf(queue)))
    const lines = heads.map((head, i) => `${told.name}${head} ${values[i]!.padStart(this.#width)}\n`)
    let end = -1
    for (const { length } of lines) {
      end += length
      this.#ends.push(end)
    }
    this.bytes = Buffer.from(lines.join(""), "latin1")
  }

  /** Writes what has changed and answers of how many queues; undefined: these are others, or a field is too small. */
  rewrite(all: readonly Of[]): number | undefined {
    if (all.length !== this.#queues.length || all.some(({ queue }, i) => queue !== this.#queues[i]))
      return undefined
    const { mark, values } = this.told
    let changed = 0
    for (let i = 0; i < all.length; i++) {
      const marked = mark?.(all[i]!)
      if (marked !== undefined && marked === this.#marks[i]) continue
      this.#marks[i] = marked
      const now = values(all[i]!)
      const before = changed
      for (let k = 0, at = i * now.length; k < now.length; k++, at++) {
        if (now[k] === this.#values[at]) continue
        this.#values[at] = now[k]!
        if (!this.#put(written(now[k]!), this.#ends[at]!)) return undefined
        changed = before + 1
      }
    }
    return changed
  }

  #put(text: string, end: number): boolean {
    let at = end
    for (let i = text.length; i > 0; ) this.bytes[--at] = text.charCodeAt(--i)
    while (at > end - this.#width) this.bytes[--at] = BLANK
    return text.length <= this.#width
  }
}

const written = (value: number): string => (value === Infinity ? "+Inf" : `${value}`)

/** Nobody can submit to a queue of another name; but whoever writes to Redis could. */
const labelOf = (queue: string): string =>
  `queue="${queue.replace(/[^ -~]/g, "?").replace(/[\\"]/g, "\\$&")}"`

/** A histogram of each queue. */
export const histogram = <Of>(
  name: string,
  help: string,
  bounds: readonly number[],
  of: (of: Of) => Histogram,
): QueueMetric<Of> => ({
  ...{ name, type: "histogram", help },
  heads: label => [
    ...[...bounds, "+Inf"].map(le => `_bucket{le="${le}",${label}}`),
    `_sum{${label}}`,
    `_count{${label}}`,
  ],
  mark: queue => of(queue).count,
  values: queue => valuesOf(of(queue)),
})

/** Its buckets, each with all that is below it, its sum and its count. */
export function valuesOf({ counts, sum, count }: Histogram): number[] {
  let below = 0
  return [...counts.map(more => (below += more)), sum, count]
}
