/** Texts, times and numbers as people read them. All of it ends in text nodes, whatever it holds. */
import type { ComponentChild } from "preact"
import { useTick } from "./live.ts"

/** What cannot be seen, or turns the direction of what follows; halves of pairs as well. */
const UNSEEN = new RegExp(
  [
    "[\\0-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]",
    "[\\u{e0000}-\\u{e0fff}]",
    "\\p{Cs}",
  ].join("|"),
  "gu",
)
const MARKS = 400
const codeOf = (c: string) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`

/** For attributes. */
export const plain = (text: string, most = 300): string =>
  (text.length > most ? `${text.slice(0, most)}…` : text).replace(UNSEEN, codeOf)

/** With what cannot be seen as small marks. */
export function Shown({ text, most = 2_000 }: { text: string; most?: number }) {
  const cut = text.length > most ? text.slice(0, most) : text
  const parts: ComponentChild[] = []
  let at = 0
  for (const { 0: c, index } of cut.matchAll(UNSEEN)) {
    if (parts.length > MARKS) break
    parts.push(cut.slice(at, index), <span class="unseen">{codeOf(c)}</span>)
    at = index + c.length
  }
  const rest = cut.slice(at)
  return (
    <>
      {parts}
      {parts.length > MARKS ? rest.replace(UNSEEN, codeOf) : rest}
      {text.length > most && "…"}
    </>
  )
}

/** What scrolls by itself can be reached by keys. */
export const scrolls = (label: string) => ({ role: "region", tabIndex: 0, "aria-label": label }) as const
export const count = (n: number): string => n.toLocaleString("en")
export const short = (n: number): string =>
  n < 100_000 ? count(n) : n.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 })
export const rate = (n: number): string =>
  n === 0 ? "0" : n < 10 ? n.toFixed(n < 1 ? 2 : 1).replace(/\.?0+$/, "") : short(Math.round(n))
export const plural = (n: number, one: string): string => `${count(n)} ${one}${n === 1 ? "" : "s"}`
export const bytes = (n: number): string =>
  n < 1_000 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`

const UNITS: [ms: number, name: string][] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
]
/** `1 h 5 min`, `12 s`, `340 ms`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`
  const i = UNITS.findIndex(([unit]) => ms >= unit)
  const [unit, name] = UNITS[i]!
  const whole = Math.floor(ms / unit)
  const next = UNITS[i + 1]
  const rest = next && whole < 10 ? Math.floor((ms % unit) / next[0]) : 0
  return `${whole} ${name}${rest > 0 ? ` ${rest} ${next![1]}` : ""}`
}

/** How long ago, or how long until then; the moment itself to those who point at it. */
export function Time({ at, live = true }: { at: number; live?: boolean }) {
  useTick(live ? 1_000 : 60_000)
  const date = new Date(at)
  const ago = Date.now() - at
  const near = Math.abs(ago) < 1_000
  return (
    <time dateTime={date.toISOString()} title={`${date.toLocaleString("en-GB")} (${date.toISOString()})`}>
      {near ? "now" : ago > 0 ? `${coarse(ago)} ago` : `in ${coarse(-ago)}`}
    </time>
  )
}
const coarse = (ms: number) => duration(Math.floor(ms / 1_000) * 1_000).replace(".0 s", " s")

export const clock = (at: number): string => new Date(at).toLocaleTimeString("en-GB")
