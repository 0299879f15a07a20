/**
 * What happened, as those saw it to whom it happened: each process writes a file of its own, one JSON array a
 * line, its kind first and then the time by the machine's clock, which Redis reads too.
 *   - What is meant to be done is written before it is asked, so that a killed process leaves its intention.
 *   - A line is a whole request, as a rule of 100 tasks: a million tasks are some 200 MB.
 *   - A task is known by its number `n`, which its payload carries: also one whose id nobody was told.
 */
import { openSync, writeSync } from "node:fs"
import type { Batch } from "./workload.ts"

/** How an ack was answered: the broker's word, or the code of its refusal. */
export type Word = string

export type Acked = [n: number, id: string, lease: string, outcome: string]

export type Entry =
  /** A submit that is about to be sent, for the first time or again. */
  | [kind: "submit", at: number, call: number, batch: Batch]
  /**
   * Its answer: for each task its id, or the refusal as `!code`, or `=id` of the one that holds its unique key; a
   * task that was given its id answers with "".
   */
  | [kind: "submitted", at: number, call: number, answers: string[]]
  /** Handed out; `granted` and `expires` by Redis' clock. */
  | [
      kind: "leased",
      at: number,
      tasks: [n: number, id: string, lease: string, granted: number, expires: number][],
    ]
  | [kind: "ran", at: number, tasks: [n: number, lease: string][]]
  | [kind: "extended", at: number, tasks: [n: number, lease: string, expires: number][]]
  | [kind: "ack", at: number, call: number, acks: Acked[]]
  | [kind: "acked", at: number, call: number, words: Word[]]
  | [kind: "cancel", at: number, call: number, n: number, id: string]
  | [kind: "cancelled", at: number, call: number, word: Word]
  | [kind: "redrive", at: number, call: number, n: number, id: string]
  | [kind: "redriven", at: number, call: number, word: Word]
  /** Any call that got no answer or, before it was looked at, a refusal as a whole. */
  | [kind: "unanswered", at: number, call: number, why: string]
  /** A call that brought nothing else worth a line: a lease that waited in vain. */
  | [kind: "answered", at: number, call: number]

export class Recorder {
  readonly #file: number
  #lines = ""
  #calls: number

  /** `calls`: how many are in the file already. */
  constructor(path: string, calls = 0) {
    this.#file = openSync(path, "a")
    this.#calls = calls
    // A line that a kill cut short ends here, and is no entry.
    if (calls > 0) writeSync(this.#file, "\n")
  }

  /** The number of a new call. */
  call(): number {
    return ++this.#calls
  }

  /** Written at once: a kill -9 that follows does not undo it. */
  write(...entry: Entry): void {
    this.later(...entry)
    writeSync(this.#file, this.#lines)
    this.#lines = ""
  }

  /** Written along with the next line that must not be lost. */
  later(...entry: Entry): void {
    this.#lines += `${JSON.stringify(entry)}\n`
  }
}

function parsed(line: string): Entry | undefined {
  try {
    return JSON.parse(line) as Entry
  } catch {
    return undefined
  }
}

/** The entries of a file. A line that a kill cut short is left out. */
export async function* readHistory(path: string): AsyncGenerator<Entry> {
  const text = await Bun.file(path).text()
  let from = 0
  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
    const line = text.slice(from, end)
    from = end + 1
    const entry = parsed(line)
    if (entry !== undefined) yield entry
  }
}
