/** Formats text, times and numbers. Untrusted text is always rendered as text nodes, never as HTML. */
import type { ComponentChild } from "preact"
import type { QueueSettings } from "../wire/queue-settings.ts"
import { brokerNow } from "./clock.ts"
import { useClock } from "./live.ts"
import { times, timeZone } from "./preferences.ts"
import { useStore } from "./store.ts"

/** Invisible characters, characters that change the text direction, and unpaired surrogates. */
const INVISIBLE = new RegExp(
  [
    "[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]",
    "[\\u{e0000}-\\u{e0fff}]",
    "\\p{Cs}",
  ].join("|"),
  "gu",
)
const MAX_MARKS = 400
const escapeOf = (c: string) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`

/** The beginning of a text. A character of two units, such as an emoji, is not cut in the middle. */
const startOf = (text: string, most: number): string =>
  text.length > most ? text.slice(0, /[\ud800-\udbff]/.test(text[most - 1]!) ? most - 1 : most) : text

/** Text for attributes: shortened, with invisible characters as escapes. */
export const escapeInvisible = (text: string, most = 300): string =>
  (text.length > most ? `${startOf(text, most)}…` : text).replace(INVISIBLE, escapeOf)

/** Untrusted text with invisible characters shown as small marks. */
export function SafeText({ text, most = 2_000 }: { text: string; most?: number }) {
  const cut = startOf(text, most)
  const parts: ComponentChild[] = []
  let at = 0
  for (const { 0: c, index } of cut.matchAll(INVISIBLE)) {
    if (parts.length > MAX_MARKS) break
    parts.push(cut.slice(at, index), <span class="unseen">{escapeOf(c)}</span>)
    at = index + c.length
  }
  const rest = cut.slice(at)
  return (
    <>
      {parts}
      {parts.length > MAX_MARKS ? rest.replace(INVISIBLE, escapeOf) : rest}
      {text.length > most && "…"}
    </>
  )
}

/** Attributes that let the keyboard reach and scroll an element. */
export const scrollable = (label: string) => ({ role: "region", tabIndex: 0, "aria-label": label }) as const
export const formatCount = (n: number): string => n.toLocaleString("en")
export const formatShort = (n: number): string =>
  n < 100_000 ? formatCount(n) : n.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 })
export const formatRate = (n: number): string =>
  n === 0 ? "0" : n < 10 ? n.toFixed(n < 1 ? 2 : 1).replace(/\.?0+$/, "") : formatShort(Math.round(n))
export const plural = (n: number, one: string): string => `${formatCount(n)} ${one}${n === 1 ? "" : "s"}`
export const formatBytes = (n: number): string =>
  n < 1_000 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`

const UNITS: [ms: number, name: string][] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
]
/** `1 h 5 min`, `12 s`, `340 ms`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`
  const i = UNITS.findIndex(([unit]) => ms >= unit)
  const [unit, name] = UNITS[i]!
  const whole = Math.floor(ms / unit)
  const next = UNITS[i + 1]
  const rest = next && whole < 10 ? Math.floor((ms % unit) / next[0]) : 0
  return `${whole} ${name}${rest > 0 ? ` ${rest} ${next![1]}` : ""}`
}

/** `90 min`: exact, in the largest unit that has no rest. */
export function formatInterval(ms: number): string {
  const [unit, name] = UNITS.find(([unit]) => ms % unit === 0) ?? [1, "ms"]
  return `${ms / unit} ${name}`
}

/** A time relative to now, or absolute, as the person has chosen. The tooltip shows the absolute time. */
export function Time({ at, live = true }: { at: number; live?: boolean }) {
  useClock(live ? 1_000 : 60_000)
  const shown = useStore(times)
  const date = new Date(at)
  return (
    <time dateTime={date.toISOString()} title={`${date.toLocaleString("en-GB")} (${date.toISOString()})`}>
      {shown === "relative" ? formatRelative(brokerNow() - at, at) : formatMoment(at)}
    </time>
  )
}

/** Only the first minute has seconds, so that a table does not change every second. After a day it is the date. */
function formatRelative(ago: number, at: number): string {
  const ms = Math.abs(ago)
  if (ms < 1_000) return "now"
  if (ms >= 86_400_000)
    return new Date(at).toLocaleString("en-GB", {
      year: "numeric",
      month: "short",
      day: "numeric",
      hour: "2-digit",
      minute: "2-digit",
    })
  const [unit, name] = UNITS.find(([unit]) => ms >= unit)!
  const text = `${Math.floor(ms / unit)} ${name}`
  return ago > 0 ? `${text} ago` : `in ${text}`
}

export const formatClock = (at: number): string =>
  new Date(at).toLocaleTimeString("en-GB", { timeZone: timeZone() })

/** `2026-11-28 18:37:05`, local or in UTC. */
export function formatMoment(at: number): string {
  // Swedish dates are written as in ISO 8601.
  const text = new Date(at).toLocaleString("sv-SE", { timeZone: timeZone() })
  return timeZone() === undefined ? text : `${text} UTC`
}

/** `Sun 2026-03-08 03:30 GMT-4`: a zone that this browser does not know is shown as UTC. */
export function formatInZone(at: number, timeZone: string): string {
  try {
    const { weekday, year, month, day, hour, minute, second, timeZoneName } = Object.fromEntries(
      new Intl.DateTimeFormat("en-GB", {
        timeZone,
        weekday: "short",
        year: "numeric",
        month: "2-digit",
        day: "2-digit",
        hour: "2-digit",
        minute: "2-digit",
        second: "2-digit",
        timeZoneName: "shortOffset",
      })
        .formatToParts(at)
        .map(({ type, value }) => [type, value]),
    )
    const seconds = second === "00" ? "" : `:${second}`
    return `${weekday} ${year}-${month}-${day} ${hour}:${minute}${seconds} ${timeZoneName}`
  } catch {
    return formatInZone(at, "UTC")
  }
}

/** A rate limit, or several that all hold. */
export const rateText = (rate: NonNullable<QueueSettings["rate"]>): string =>
  [rate]
    .flat()
    .map(({ per_second, limit, per_ms = 1_000, burst }) => {
      const period = per_ms === 1_000 ? "second" : formatDuration(per_ms)
      return `${per_second ?? limit} per ${period}${burst === undefined ? "" : `, burst ${burst}`}`
    })
    .join("; ")
