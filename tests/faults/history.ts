/**
 * The history of a run: each process writes its own file, with one JSON array per line. The array starts with its kind
 * and the time by the clock of the machine, which is also the clock of Redis.
 *   - A call is recorded before it is sent, so that a killed process leaves its intention.
 *   - A line holds a whole request, usually of 100 tasks. A million tasks take about 200 MB.
 *   - A task is identified by its number `n` in its payload, even if no client received its id.
 */
import { openSync, writeSync } from "node:fs"
import type { Batch } from "./workload.ts"

/** The answer to an ack: the broker's status, or the code of its refusal. */
type Word = string

export type Acked = [n: number, id: string, lease: string, outcome: string]

export type Entry =
  /** A submit that is about to be sent, for the first time or repeated. */
  | [kind: "submit", at: number, call: number, batch: Batch]
  /**
   * Its answer. For each task: its id, the refusal as `!code`, or `=id` of the task that holds its unique key. For a task
   * that was submitted with an id: "".
   */
  | [kind: "submitted", at: number, call: number, answers: string[]]
  /** Leased tasks. `granted` and `expires` are by the clock of Redis. */
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
  /** A call without an answer, or one that was refused as a whole. */
  | [kind: "unanswered", at: number, call: number, why: string]
  /** A call without any other entry: a long poll that ended empty. */
  | [kind: "answered", at: number, call: number]

export class Recorder {
  readonly #file: number
  #lines = ""
  #calls: number

  /** `calls` is the number of calls that are already in the file. */
  constructor(path: string, calls = 0) {
    this.#file = openSync(path, "a")
    this.#calls = calls
    // A line that was cut short by a kill ends here. Readers skip it.
    if (calls > 0) writeSync(this.#file, "\n")
  }

  /** The number of a new call. */
  call(): number {
    return ++this.#calls
  }

  /** Writes immediately, so that a following kill -9 does not lose it. */
  write(...entry: Entry): void {
    this.later(...entry)
    writeSync(this.#file, this.#lines)
    this.#lines = ""
  }

  /** Writes together with the next line that must not be lost. */
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

/** The entries of a file, without a line that was cut short by a kill. */
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
