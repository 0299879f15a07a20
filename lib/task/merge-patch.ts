/**
 * JSON merge patch, RFC 7396, on texts: what is not patched stays as it was written, as all payloads do, and how deep it
 * nests does not matter.
 */
import { membersOf } from "../wire/json-text.ts"

/** How deep the objects of a patch may nest: a payload is read through once a level. */
export const MAX_PATCH_DEPTH = 20

/** The text of the value `text` with `patch` merged into it: members of null go, others are put in or replaced. */
export function mergedText(text: string, patch: string): string {
  if (!patch.startsWith("{")) return patch
  const members = new Map(text.startsWith("{") ? membersOf(text) : [])
  for (const [name, value] of membersOf(patch))
    if (value === "null") members.delete(name)
    else members.set(name, mergedText(members.get(name) ?? "null", value))
  return `{${[...members].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`
}

/** Whether the objects of this patch nest deeper than they may. */
export const tooDeep = (patch: unknown, most = MAX_PATCH_DEPTH): boolean =>
  typeof patch === "object" &&
  patch !== null &&
  !Array.isArray(patch) &&
  (most === 0 || Object.values(patch).some(value => tooDeep(value, most - 1)))
