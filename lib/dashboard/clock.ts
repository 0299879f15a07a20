/** The time by the clock of the broker: that of this computer may be minutes off, and the broker's times are shown as ages. */

/** The header Date has whole seconds, and an answer takes time: a smaller difference says nothing. */
const PRECISION_MS = 2_000

/** How far the clock of the broker is ahead of that of this computer; 0 if they agree. */
export let clockOffsetMs = 0

/** Learns the difference from the header Date of an answer that has just arrived. */
export function noteDate(header: string | null): void {
  const at = Date.parse(header ?? "")
  if (Number.isNaN(at)) return
  const offset = at + 500 - Date.now()
  clockOffsetMs = Math.abs(offset) < PRECISION_MS ? 0 : offset
}

export const brokerNow = (): number => Date.now() + clockOffsetMs
