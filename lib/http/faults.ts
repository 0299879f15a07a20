/** Faults of members that are valid alone but not together. */
import type { Fault } from "../wire/problem.ts"

export const conflict = (field: string, other: string): Fault => ({
  field,
  detail: `\`${field}\` and \`${other}\` cannot be combined: send one.`,
})

/** What the pattern of a group's name cannot say. */
export const faultsOfGroup = (name: string): Fault[] =>
  name.isWellFormed() && name !== "." && name !== ".."
    ? []
    : [{ field: "group", detail: `\`group\` must be well-formed Unicode, and not "." or "..".` }]

export const requiresOther = (field: string, other: string): Fault => ({
  field,
  detail: `\`${field}\` is valid only with \`${other}\`.`,
})
