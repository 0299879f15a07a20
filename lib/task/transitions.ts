/**
 * The state machine: every change of state, and when the script refuses it. README.md contains the same table, and the
 * tests iterate over it. An event begins with the name of its script; `lease` also does what the sweeps of lapsed, expired
 * and due tasks do.
 */
import type { State } from "../wire/fields.ts"

/** By the beginning of the event: the first one that fits. */
const REFUSED = [
  ["submit", "the id or its unique key is taken"],
  ["lease", "other tasks are ahead of it, or its group is held"],
  ["extend", "the lease is not the newest"],
  ["settle", "the lease is not the newest"],
  ["cancel", "it has ended"],
  ["change", "it is leased or has ended"],
  ["retry dead", "it is not dead, or its unique key is taken"],
  ["purge", "it has left that state"],
  ["delete ended", "it has left that state"],
  ["sweep: lapsed", "the lease has time left"],
  ["sweep", "the time has not come"],
] as const

interface Transition {
  /** `–`: the task does not exist. */
  from: State | "–"
  event: `${(typeof REFUSED)[number][0]}${string}`
  to: State | "–"
}

export const TRANSITIONS = [
  { from: "–", event: "submit", to: "queued" },
  { from: "–", event: "submit: delayed", to: "scheduled" },
  { from: "scheduled", event: "sweep: due", to: "queued" },
  { from: "retrying", event: "sweep: due", to: "queued" },
  { from: "queued", event: "lease", to: "processing" },
  { from: "processing", event: "extend", to: "processing" },
  { from: "processing", event: "settle: done", to: "done" },
  { from: "processing", event: "settle: failed, retries left", to: "queued" },
  { from: "processing", event: "settle: failed, with backoff", to: "retrying" },
  { from: "processing", event: "settle: failed, none left", to: "dead" },
  { from: "processing", event: "settle: released", to: "queued" },
  { from: "processing", event: "settle: released, with a delay", to: "retrying" },
  { from: "processing", event: "settle: released too often", to: "dead" },
  { from: "processing", event: "settle: cancel requested", to: "cancelled" },
  { from: "processing", event: "sweep: lapsed, crashes left", to: "queued" },
  { from: "processing", event: "sweep: lapsed, with backoff", to: "retrying" },
  { from: "processing", event: "sweep: lapsed, none left", to: "dead" },
  { from: "processing", event: "sweep: lapsed, cancel requested", to: "cancelled" },
  { from: "processing", event: "cancel", to: "processing" },
  { from: "scheduled", event: "cancel", to: "cancelled" },
  { from: "queued", event: "cancel", to: "cancelled" },
  { from: "retrying", event: "cancel", to: "cancelled" },
  { from: "scheduled", event: "change", to: "scheduled" },
  { from: "queued", event: "change", to: "queued" },
  { from: "retrying", event: "change", to: "retrying" },
  { from: "queued", event: "change: delayed, never leased", to: "scheduled" },
  { from: "queued", event: "change: delayed", to: "retrying" },
  { from: "scheduled", event: "change: run now", to: "queued" },
  { from: "retrying", event: "change: run now", to: "queued" },
  { from: "scheduled", event: "sweep: expired", to: "dead" },
  { from: "queued", event: "sweep: expired", to: "dead" },
  { from: "retrying", event: "sweep: expired", to: "dead" },
  { from: "dead", event: "retry dead", to: "queued" },
  { from: "scheduled", event: "purge", to: "–" },
  { from: "queued", event: "purge", to: "–" },
  { from: "retrying", event: "purge", to: "–" },
  { from: "done", event: "purge", to: "–" },
  { from: "dead", event: "purge", to: "–" },
  { from: "cancelled", event: "purge", to: "–" },
  { from: "done", event: "delete ended", to: "–" },
  { from: "dead", event: "delete ended", to: "–" },
  { from: "cancelled", event: "delete ended", to: "–" },
  { from: "done", event: "sweep: retention over", to: "–" },
  { from: "dead", event: "sweep: retention over", to: "–" },
  { from: "cancelled", event: "sweep: retention over", to: "–" },
] as const satisfies readonly Transition[]

export const refusedWhen = ({ event }: Transition): string =>
  REFUSED.find(([beginning]) => event.startsWith(beginning))![1]
