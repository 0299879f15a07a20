/**
 * Whether the broker still answers. Every response and every event is news. After a short silence the page asks
 * /healthz, so a broker that hangs is noticed although its connections stay open.
 */
import { BASE } from "./base.ts"
import { Store } from "./store.ts"

const TICK_MS = 1_000
const ASK_AFTER_MS = 2_000
const SILENT_AFTER_MS = 4_000
/** A timer that is this late means that the computer slept. */
const SLEPT_MS = 10_000

/** For how many seconds the broker has sent nothing; 0 as long as that is normal. */
export const silence = new Store(0)
let heardAt = Date.now()

export function noteNews(): void {
  heardAt = Date.now()
  silence.set(0)
}

/** Watches until the returned function is called. `onTick` gets the time of the newest news, every second. */
export function watchPulse(onTick: (heardAt: number) => void): () => void {
  let isAsking = false
  let tickedAt = Date.now()
  const ask = () => {
    isAsking = true
    fetch(`${BASE}/healthz`, { cache: "no-store" })
      .then(noteNews, () => {})
      .finally(() => {
        isAsking = false
      })
  }
  const tick = () => {
    const now = Date.now()
    if (document.hidden || now - tickedAt > SLEPT_MS) heardAt = now
    tickedAt = now
    const quietMs = now - heardAt
    if (quietMs >= ASK_AFTER_MS && !isAsking) ask()
    silence.set(quietMs < SILENT_AFTER_MS ? 0 : Math.floor(quietMs / 1_000))
    onTick(heardAt)
  }
  noteNews()
  const timer = setInterval(tick, TICK_MS)
  return () => clearInterval(timer)
}
