/**
 * A page of Prometheus' text, and one metric that every queue has: its lines are kept as bytes, and only a number that
 * has changed is written, into its place. For 1,000 queues prom-client takes 80 ms and more, at every scrape.
 */
import type { Histogram } from "./measures.ts"

/** How many queues' lines are kept together. */
const TOGETHER = 100
const BLANK = 0x20

export type Value = number | string

export interface Told<Of> {
  name: string
  type: "gauge" | "counter" | "histogram"
  help: string
  /** What stands between the metric's name and each value, for the label of a queue: `queue="a"`. */
  heads: (label: string) => readonly string[]
  /** Another one whenever a value is another. */
  mark: (of: Of) => Value
  values: (of: Of) => readonly Value[]
}

/**
 * Text as bytes, put together from many short ones: as one long string it would cost more than to count all of it.
 * Its room is used again for the next page, as the system takes longer to give a megabyte than to fill it.
 */
export class Page {
  #bytes = Buffer.allocUnsafe(65_536)
  #size = 0

  clear(): void {
    this.#size = 0
  }

  add(text: string | Buffer): void {
    const most = this.#size + text.length
    if (most > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(2 * most)
      this.#bytes.copy(larger, 0, 0, this.#size)
      this.#bytes = larger
    }
    if (typeof text === "string") this.#size += this.#bytes.write(text, this.#size, "latin1")
    else this.#size += text.copy(this.#bytes, this.#size)
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#size)
  }
}

/** One metric of all queues. */
export class Family<Of extends { readonly queue: string }> {
  #blocks: Block<Of>[] = []
  /** Of how many queues it has written values so far: what pages cost. */
  written = 0

  constructor(readonly told: Told<Of>) {}

  write(page: Page, all: readonly Of[]): void {
    const { name, type, help } = this.told
    page.add(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`)
    const before = this.#blocks
    this.#blocks = []
    for (let at = 0; at < all.length; at += TOGETHER) {
      const queues = all.slice(at, at + TOGETHER)
      let block = before[this.#blocks.length]
      const written = block?.rewrite(queues)
      if (written === undefined) block = new Block(this.told, queues)
      this.written += written ?? queues.length
      this.#blocks.push(block!)
      page.add(block!.bytes)
    }
    page.add("\n")
  }
}

/**
 * The lines of some queues. A value stands at the right of a field that is as wide as the widest: so the next one is
 * written in its place, and the rest of the text stays as it is.
 */
class Block<Of extends { readonly queue: string }> {
  readonly bytes: Buffer
  readonly #queues: string[]
  readonly #marks: Value[]
  readonly #values: Value[]
  /** Where the fields of all values end. */
  readonly #ends: number[] = []
  readonly #width: number

  constructor(
    private readonly told: Told<Of>,
    all: readonly Of[],
  ) {
    this.#queues = all.map(({ queue }) => queue)
    this.#marks = all.map(told.mark)
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
    let changed = 0
    for (let i = 0; i < all.length; i++) {
      const mark = this.told.mark(all[i]!)
      if (mark === this.#marks[i]) continue
      const values = this.told.values(all[i]!)
      for (let k = 0, at = i * values.length; k < values.length; k++, at++) {
        if (values[k] === this.#values[at]) continue
        this.#values[at] = values[k]!
        if (!this.#put(written(values[k]!), this.#ends[at]!)) return undefined
      }
      this.#marks[i] = mark
      changed++
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

const written = (value: Value): string => (value === Infinity ? "+Inf" : `${value}`)

/** Nobody can submit to a queue of another name; but whoever writes to Redis could. */
const labelOf = (queue: string): string =>
  `queue="${queue.replace(/[^ -~]/g, "?").replace(/[\\"]/g, "\\$&")}"`

/** A histogram of each queue. */
export const histogram = <Of>(
  name: string,
  help: string,
  bounds: readonly number[],
  of: (of: Of) => Histogram,
): Told<Of> => ({
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
