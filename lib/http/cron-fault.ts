/** Says what is wrong with a cron expression, field by field, and what would be right, without repeating what was sent. */

/** Each field: its name, its values, how many there are, and with what they begin again. */
const FIELDS = [
  ["minute", "0 to 59", 60, "hour"],
  ["hour", "0 to 23", 24, "day"],
  ["day", "1 to 31", 31, "month"],
  ["month", "1 to 12 or jan to dec", 12, "year"],
  ["weekday", "0 to 7 or sun to sat", 7, "week"],
] as const
const NICKNAMES = /^@(hourly|daily|midnight|weekly|monthly|yearly|annually)$/i
/** What Quartz, EventBridge and Jenkins add: `L`, `15W`, `fri#2`, `?`, `H`. */
const FOREIGN = /[#?]|(^|\d)[lw]+$|^h\b/i

/** One space between the fields, so that the same expression is the same text. */
export const withSingleSpaces = (cron: string): string => cron.trim().split(/\s+/).join(" ")

/** `cron` has single spaces. Undefined if it is valid. */
export function faultOfCron(cron: string): string | undefined {
  if (cron.startsWith("@"))
    return NICKNAMES.test(cron)
      ? undefined
      : `\`cron\` takes the nicknames @hourly, @daily, @weekly, @monthly and @yearly. For an interval such as five minutes, send \`every_ms\`: 300000.`
  const texts = cron.split(" ")
  if (texts.length !== FIELDS.length)
    return `\`cron\` must have five fields (minute hour day month weekday), such as \`0 7 * * mon-fri\`, but has ${cron === "" ? "none" : texts.length}. Seconds and years are not supported.`
  for (const [i, text] of texts.entries()) {
    const fault = faultOfField(i, text)
    if (fault !== undefined) return fault
  }
  return problemOf(cron) === null
    ? "`cron` must match at least one day, but no day of any year matches."
    : undefined
}

function faultOfField(i: number, text: string): string | undefined {
  const [name, values, size, period] = FIELDS[i]!
  if (text.split(",").some(part => Number(part.split("/")[1]) > size))
    return `The ${name} of \`cron\` has a step above ${size}, but steps start again with each ${period}. For a longer interval, send \`every_ms\`.`
  const problem = problemOf(FIELDS.map((_, other) => (other === i ? text : "*")).join(" "))
  if (typeof problem !== "string") return undefined
  const fault = FOREIGN.test(text) ? "L, W, #, ? and H are not supported" : problem
  return `The ${name} of \`cron\` cannot be read: ${fault}. It takes \`*\`, values from ${values}, ranges such as 1-5, lists such as 1,5, and steps such as */2.`
}

/** Why Bun cannot read the expression; undefined if it can, null if the expression never matches. */
function problemOf(cron: string): string | null | undefined {
  try {
    return Bun.cron.parse(cron, 0, { tz: "UTC" }) === null ? null : undefined
  } catch (error) {
    return error instanceof Error ? error.message.replace(/^.*?: /, "") : "it cannot be read"
  }
}
