/** Which dead tasks have the same cause: the same type and reason, and errors that differ only in varying parts. */
import { createHash } from "node:crypto"
import type { Task } from "../task/task.ts"

/** How many characters of an error decide which group it belongs to. */
const GROUPED_CHARACTERS = 1_000

/** The parts of an error that differ between occurrences, in the order in which they are replaced. */
const VARYING: readonly [part: RegExp, name: string][] = [
  // An apostrophe within a word does not start a quotation.
  [/"[^"]*"|`[^`]*`|(?<![A-Za-z0-9])'[^']*'(?![A-Za-z0-9])/g, "<text>"],
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi, "<uuid>"],
  [/\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b/gi, "<hex>"],
  [/\d+(?:\.\d+)*/g, "<n>"],
]

/** An error with its varying parts replaced, so that occurrences of one fault are equal. */
export const patternOf = (error = ""): string =>
  VARYING.reduce((text, [part, name]) => text.replace(part, name), error.slice(0, GROUPED_CHARACTERS))

/** Equal for dead tasks with the same type, reason and error pattern. */
export const fingerprintOf = ({ type, reason, error }: Task): string =>
  createHash("sha256")
    .update(JSON.stringify([type, reason, patternOf(error)]))
    .digest("hex")
    .slice(0, 16)
