/** Cursors: texts that say where the next page begins. Clients send them back as they are. */
import { Refused } from "../errors.ts"

export const encodeCursor = (text: string): string => Buffer.from(text).toString("base64url")

/** What the groups of the pattern match in the text of a cursor. Refuses a cursor that does not match. */
export function decodeCursor(cursor: string, pattern: RegExp): string[] {
  const match = pattern.exec(Buffer.from(cursor, "base64url").toString())
  if (match === null) throw badCursor()
  return match.slice(1)
}

export const badCursor = () =>
  new Refused("bad_request", {
    field: "cursor",
    detail: "`cursor` must be the `next` of the previous page.",
  })
