/**
 * JSON merge patch (RFC 7396) on JSON text. Members that the patch does not name keep their text, like all payloads, and
 * may nest to any depth.
 */
import { membersOf } from "../wire/json-text.ts"

/** How deep the objects of a patch may nest. The payload is scanned once per level. */
export const MAX_PATCH_DEPTH = 20

/** Merges `patch` into the value `text`: members that are null are removed, the others are added or replaced. */
export function mergedText(text: string, patch: string): string {
  if (!patch.startsWith("{")) return patch
  const members = new Map(text.startsWith("{") ? membersOf(text) : [])
  for (const [name, value] of membersOf(patch))
    if (value === "null") members.delete(name)
    else members.set(name, mergedText(members.get(name) ?? "null", value))
  return `{${[...members].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`
}

/** Whether the objects of this patch nest more than `most` levels. */
export const tooDeep = (patch: unknown, most = MAX_PATCH_DEPTH): boolean =>
  typeof patch === "object" &&
  patch !== null &&
  !Array.isArray(patch) &&
  (most === 0 || Object.values(patch).some(value => tooDeep(value, most - 1)))
