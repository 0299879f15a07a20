/** Settings as arguments: `concurrency=5 defaults.timeout_ms=5m rate=` sets two members and removes the third. */
import { type Members, parseExactly, readDurationMs, UsageError } from "./tq-call.ts"

/** How commands that take members explain them. */
export const MEMBERS_HELP =
  "A value is JSON or otherwise a text. Outside of payloads a rate may be written as 20/s or 100/5m, a duration (_ms) as 5m, a time (_at) as an ISO date. `member=` removes a member; members that are not named stay unchanged."

interface Assignment {
  path: readonly string[]
  /** undefined removes the member. */
  value: unknown
}

export const readMembers = (args: readonly string[]): Assignment[] =>
  args.map(text => {
    const at = text.indexOf("=")
    const path = text.slice(0, Math.max(0, at)).split(".")
    if (path.includes(""))
      throw new UsageError(
        `${JSON.stringify(text)} is not member=value: put the name of a member and = before it`,
      )
    return { path, value: readValue(path, text.slice(at + 1)) }
  })

/** The members with the assigned ones set or removed. The others stay. */
export const withMembers = (before: Members, assignments: readonly Assignment[]): Members =>
  assignments.reduce((members, { path, value }) => setMember(members, path, value), before)

function setMember(members: Members, [name, ...path]: readonly string[], value: unknown): Members {
  const before = Object.hasOwn(members, name!) ? members[name!] : undefined
  const after = path.length === 0 ? value : nonEmpty(setMember(asMembers(before), path, value))
  const others = Object.entries(members).filter(([other]) => other !== name)
  // fromEntries makes own members, also of the name __proto__.
  return Object.fromEntries(after === undefined ? others : [...others, [name, after]])
}

/** Another value, such as a list, is replaced. */
const asMembers = (value: unknown): Members =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : {}

const nonEmpty = (members: Members) => (Object.keys(members).length === 0 ? undefined : members)

function readValue(path: readonly string[], text: string): unknown {
  const name = path.at(-1)!
  if (text === "") return undefined
  // What is within a payload is the caller's own, and labels are texts.
  if (path.slice(0, -1).includes("payload")) return jsonOrText(text)
  if (path.at(-2) === "meta") return text
  if (name === "rate") return readRate(text)
  if (name.endsWith("_ms")) return readDurationMs(text) ?? jsonOrText(text)
  if (name.endsWith("_at") && /^\d{4}-\d\d-\d\d/.test(text)) {
    const at = Date.parse(text)
    if (Number.isNaN(at))
      throw new UsageError(`${name} takes a time such as 2027-01-31T08:00:00Z, not ${text}`)
    return at
  }
  return jsonOrText(text)
}

/** `20/s` or `100/5m`, or an object or list as the broker takes it. */
function readRate(text: string): unknown {
  const [, limit, count = "", unit = ""] = /^(\d+)\/(\d*)(ms|s|m|h|d)$/.exec(text) ?? []
  if (limit !== undefined) return { limit: Number(limit), per_ms: readDurationMs(`${count || 1}${unit}`) }
  if (/^[[{]/.test(text)) return jsonOrText(text)
  throw new UsageError(
    `rate takes a rate such as 20/s or 100/5m, or JSON as the broker takes it, not ${text}`,
  )
}

function jsonOrText(text: string): unknown {
  try {
    return parseExactly(text)
  } catch {
    return text
  }
}
