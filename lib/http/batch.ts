/** Requests that carry one item or many. Each item is checked, done and answered independently of the others. */
import { type Each, Refused } from "../errors.ts"
import { problem } from "./answer.ts"
import type { Body } from "./body.ts"

export const MAX_ITEMS = 1_000

export interface Batch<T> {
  items: Each<T>[]
  /** The body was an array, so the answer is one as well. */
  isArray: boolean
}

/** Reads one item, whose fault is thrown, or an array, in which a faulty item becomes its refusal. */
export function readBatch<T>({ value }: Body, read: (item: unknown, index: number) => T): Batch<T> {
  if (!Array.isArray(value)) return { items: [read(value, 0)], isArray: false }
  if (value.length === 0 || value.length > MAX_ITEMS)
    throw new Refused("bad_request", { detail: `An array must have 1 to ${MAX_ITEMS} items.` })
  return { items: readItems(value, read), isArray: true }
}

export const readItems = <T>(
  values: readonly unknown[],
  read: (item: unknown, index: number) => T,
): Each<T>[] =>
  values.map((item, index) => {
    try {
      return read(item, index)
    } catch (error) {
      if (error instanceof Refused) return error
      throw error
    }
  })

/** The items that were not refused. */
export const acceptedOf = <T>(items: readonly Each<T>[]): T[] =>
  items.filter(item => !(item instanceof Refused)) as T[]

/** The answers of the accepted items and the refusals of the others, in the order of the items. */
export function mergeAnswers<T, A>(items: readonly Each<T>[], answers: readonly Each<A>[]): Each<A>[] {
  let next = 0
  return items.map(item => (item instanceof Refused ? item : answers[next++]!))
}

/** Runs an operation on the accepted items and gives the answers of all items in order. */
export async function answerEach<T, A>(
  items: readonly Each<T>[],
  run: (items: T[]) => Promise<readonly Each<A>[]>,
): Promise<Each<A>[]> {
  const accepted = acceptedOf(items)
  return mergeAnswers(items, accepted.length === 0 ? [] : await run(accepted))
}

/** The body of the answer: an array, or the only item. The refusal of an only item is thrown. */
export function writeBatch<A>(
  { isArray }: Batch<unknown>,
  answers: readonly Each<A>[],
  write: (answer: A) => string,
): string {
  if (isArray) return writeEach(answers, write)
  const only = answers[0]!
  if (only instanceof Refused) throw only
  return write(only)
}

export const writeEach = <A>(answers: readonly Each<A>[], write: (answer: A) => string): string =>
  `[${answers.map(answer => (answer instanceof Refused ? JSON.stringify(problem(answer)) : write(answer))).join(",")}]`
