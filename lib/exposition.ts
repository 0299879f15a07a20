/**
 * A page of Prometheus' text, and one metric that every queue has: the lines of a queue are kept, and written anew only where a
 * number in them has changed. For 1,000 queues prom-client takes 80 ms and more, at every scrape.
 */
import type { Histogram } from "./measures.ts"

export type Value = number | string

export interface Told<Of> {
  name: string
  type: "gauge" | "counter" | "histogram"
  help: string
  /** What stands between the metric's name and each value, for the label of a queue: `queue="a"`. */
  heads: (label: string) => readonly string[]
  /** Another one whenever a value is another; undefined: nothing is told of this queue. */
  mark: (of: Of) => Value | undefined
  values: (of: Of) => readonly Value[]
}

/** Text as bytes, put together from many short ones: as one long string it would cost more than to count all of it. */
export class Page {
  #bytes: Buffer
  #size = 0

  constructor(room = 65_536) {
    this.#bytes = Buffer.allocUnsafe(room)
  }

  add(text: string): void {
    const most = this.#size + text.length
    if (most > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(2 * most)
      this.#bytes.copy(larger, 0, 0, this.#size)
      this.#bytes = larger
    }
    this.#size += this.#bytes.write(text, this.#size, "latin1")
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#size)
  }
}

interface Part {
  mark: Value
  heads: readonly string[]
  text: string
}

export class Family<Of> {
  #parts = new Map<string, Part>()
  /** How many parts it has written so far. */
  written = 0

  constructor(readonly told: Told<Of>) {}

  write(page: Page, queues: Iterable<readonly [queue: string, of: Of]>): void {
    const { name, type, help, mark, values } = this.told
    const parts = new Map<string, Part>()
    page.add(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`)
    for (const [queue, of] of queues) {
      const now = mark(of)
      if (now === undefined) continue
      let part = this.#parts.get(queue)
      if (part?.mark !== now) {
        const heads = part?.heads ?? this.#heads(queue)
        part = { mark: now, heads, text: lines(heads, values(of)) }
        this.written++
      }
      parts.set(queue, part)
      page.add(part.text)
    }
    this.#parts = parts // without those of queues that are no more
    page.add("\n")
  }

  #heads(queue: string): string[] {
    // Nobody can submit to a queue of another name; but whoever writes to Redis could.
    const label = `queue="${queue.replace(/[^ -~]/g, "?").replace(/[\\"]/g, "\\$&")}"`
    // Joined, not added up: a text that is still in pieces would be put together again for each of its lines.
    return this.told.heads(label).map(head => [this.told.name, head, " "].join(""))
  }
}

function lines(heads: readonly string[], values: readonly Value[]): string {
  let text = ""
  for (let i = 0; i < heads.length; i++) text += `${heads[i]}${values[i] === Infinity ? "+Inf" : values[i]}\n`
  return text
}

/** A histogram of each queue that has one. Left out where it has seen nothing: idle queues are to make no page long. */
export const histogram = <Of>(
  name: string,
  help: string,
  bounds: readonly number[],
  of: (of: Of) => Histogram | undefined,
): Told<Of> => ({
  ...{ name, type: "histogram", help },
  heads: label => [
    ...[...bounds, "+Inf"].map(le => `_bucket{le="${le}",${label}}`),
    `_sum{${label}}`,
    `_count{${label}}`,
  ],
  mark: queue => of(queue)?.count || undefined,
  values: queue => valuesOf(of(queue)!),
})

/** Its buckets, each with all that is below it, its sum and its count. */
export function valuesOf({ counts, sum, count }: Histogram): number[] {
  let below = 0
  return [...counts.map(more => (below += more)), sum, count]
}
