/** Faults of members that are valid alone but not together. */
import type { Fault } from "../wire/problem.ts"

export const conflict = (field: string, other: string): Fault => ({
  field,
  detail: `\`${field}\` and \`${other}\` cannot be combined: send one.`,
})

export const requiresOther = (field: string, other: string): Fault => ({
  field,
  detail: `\`${field}\` is valid only with \`${other}\`.`,
})
