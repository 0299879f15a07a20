/**
 * A page of Prometheus' text, and one metric that every queue has: the lines of some queues are kept together, and written
 * anew only where a number in them has changed. For 1,000 queues prom-client takes 80 ms and more, at every scrape.
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

/** Some queues. `mark`: another one whenever any of them is another; undefined: the marks of each only grow. */
export interface Some<Of> {
  mark?: unknown
  queues: readonly (readonly [queue: string, of: Of])[]
}

interface Part {
  mark: Value
  heads: readonly string[]
  text: string
}

interface Kept {
  mark: unknown
  parts: Map<string, Part>
  bytes: Buffer
}

export class Family<Of> {
  #kept: Kept[] = []
  /** How many parts it has written so far. */
  written = 0

  constructor(readonly told: Told<Of>) {}

  write(page: Page, all: readonly Some<Of>[]): void {
    const { name, type, help } = this.told
    page.add(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`)
    this.#kept = all.map((some, i) => {
      const mark = some.mark ?? this.#grown(some)
      const before = this.#kept[i]
      const now = before?.mark === mark ? before : this.#write(some, mark, before?.parts)
      page.add(now.bytes)
      return now
    })
    page.add("\n")
  }

  #grown({ queues }: Some<Of>): string {
    let sum = 0
    for (const [, of] of queues) sum += Number(this.told.mark(of) ?? 0)
    return `${queues.length} ${sum}`
  }

  #write({ queues }: Some<Of>, mark: unknown, before?: Map<string, Part>): Kept {
    const parts = new Map<string, Part>()
    const texts: string[] = []
    for (const [queue, of] of queues) {
      const now = this.told.mark(of)
      if (now === undefined) continue
      let part = before?.get(queue)
      if (part?.mark !== now) {
        const heads = part?.heads ?? this.#heads(queue)
        part = { mark: now, heads, text: lines(heads, this.told.values(of)) }
        this.written++
      }
      parts.set(queue, part)
      texts.push(part.text)
    }
    return { mark, parts, bytes: Buffer.from(texts.join(""), "latin1") }
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
