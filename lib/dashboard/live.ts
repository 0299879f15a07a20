/**
 * Keeps a view up to date by events and polling. Both stop while the page is hidden and back off after failures.
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks"
import { EVENT_NAMES, type EventData, type EventName } from "../wire/events.ts"
import { can, type Problem, refusalOf } from "./api.ts"
import { BASE } from "./base.ts"
import { held } from "./hold.tsx"
import { noteNews, silence } from "./pulse.ts"
import { Store } from "./store.ts"

/** Poll interval without the event stream. */
const POLL_MS = 2_000
/** Poll interval while the event stream is open. */
const POLL_WITH_EVENTS_MS = 10_000
/** Minimum time between two requests that events cause. */
const MIN_GAP_MS = 1_200
/** Maximum wait after failures. */
const BACKOFF_MS = 10_000
/** After a request a view waits at least this many times as long as the request took. */
const REST_FACTOR = 3

/** The state of the stream of feed.ts. */
export const stream = new Store<"off" | "open" | "lost">("off")
/** Called for each event of that stream. */
export const feedListeners = new Set<EventHandler>()

/** `id` is the newest id of the stream, with this event or before it. */
export type EventHandler = (name: EventName, data: EventData, id: string) => void

/**
 * Listens to the events that match `query`; undefined listens to none. Without the role `read` no stream is opened,
 * because the broker would refuse each attempt; such views only poll.
 */
export function useStream(
  query: string | undefined,
  on: EventHandler,
  state?: Store<"off" | "open" | "lost">,
  onRefused?: (problem: Problem) => void,
): void {
  const handler = useRef(on)
  handler.current = on
  useEffect(() => {
    if (query === undefined || !can("read")) return
    let source: EventSource | undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let failures = 0
    let opened = false
    let closed = false
    let last = ""
    const close = () => {
      clearTimeout(timer)
      source?.close()
      source = undefined
    }
    /** A wrong filter, a missing right or the end of the session: a further attempt would fail as well. */
    const refuse = (problem: Problem | undefined) => {
      if (closed || problem === undefined || ![400, 401, 403].includes(problem.status)) return
      close()
      onRefused?.(problem)
    }
    const open = () => {
      close()
      if (document.hidden) return
      const from = new URLSearchParams(query)
      if (last !== "") from.set("last_event_id", last)
      source = new EventSource(`${BASE}/events?${from}`)
      let isOpen = false
      source.onopen = () => {
        failures = 0
        opened = true
        isOpen = true
        state?.set("open")
      }
      source.onerror = () => {
        close()
        state?.set(opened ? "lost" : "off")
        // If the stream never opened, the broker may not support events: retry less often.
        const base = opened ? 1_000 : 15_000
        timer = setTimeout(open, Math.min(60_000, base * 2 ** failures++) * (0.75 + Math.random() / 2))
        if (!isOpen) void refusalOf(`/events?${from}`).then(refuse, () => {})
      }
      for (const name of EVENT_NAMES)
        source.addEventListener(name, ({ data, lastEventId }: MessageEvent<string>) => {
          noteNews()
          last = lastEventId || last
          handler.current(name, JSON.parse(data), last)
        })
    }
    const turn = () => (document.hidden ? close() : open())
    open()
    document.addEventListener("visibilitychange", turn)
    return () => {
      closed = true
      document.removeEventListener("visibilitychange", turn)
      close()
      state?.set("off")
    }
  }, [query])
}

interface Data<T> {
  value: T | undefined
  problem: Problem | undefined
  /** The value belongs to a previous key. */
  stale: boolean
  refresh(): void
}

const reloads = new Set<() => void>()
/** Loads all that the view shows again, now. */
export function reloadAll(): void {
  for (const reload of reloads) reload()
}

/**
 * Loads a value, and reloads it periodically and after events: those of a query of /events, or those of the feed.
 * `evenIfHeld`: also while the page is held.
 */
export function useData<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  {
    events,
    pollMs = POLL_WITH_EVENTS_MS,
    evenIfHeld = false,
  }: { events?: string | typeof feedListeners; pollMs?: number; evenIfHeld?: boolean } = {},
): Data<T> {
  const [state, setState] = useState<{ key?: string; value?: T; problem?: Problem | undefined }>({})
  const again = useRef<(wait: number) => void>(() => {})
  const now = useRef({ load, pollMs })
  now.current = { load, pollMs }

  useEffect(() => {
    const abort = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    let due = Infinity
    let busy = false
    let wanted = false
    let failures = 0
    let begun = 0
    let final = false
    /** By the user, or after an action: also while the page is held. */
    let isRequested = false

    const run = async () => {
      due = Infinity
      if (busy) {
        wanted = true
        return
      }
      const isHeld = held.value && !evenIfHeld && !isRequested && failures === 0
      if (begun > 0 && (document.hidden || isHeld)) return
      isRequested = false
      busy = true
      wanted = false
      begun = performance.now()
      try {
        const value = await now.current.load(abort.signal)
        failures = 0
        final = false
        setState({ key, value })
      } catch (error) {
        if (abort.signal.aborted) return
        failures++
        final = (error as Problem).isFinal === true
        setState(({ value, key: of }) => ({
          ...(of === key && value !== undefined ? { value, key } : {}),
          problem: error as Problem,
        }))
      }
      busy = false
      const rest = (performance.now() - begun) * REST_FACTOR
      const base = stream.value === "open" ? now.current.pollMs : Math.min(POLL_MS, now.current.pollMs)
      const backoff = Math.min(BACKOFF_MS, 1_000 * 1.6 ** failures) * (0.75 + Math.random() / 2)
      if (wanted && failures === 0) at(Math.max(MIN_GAP_MS, rest))
      else if (!final) at(Math.max(failures > 0 ? backoff : base, rest))
    }
    const at = (wait: number) => {
      const time = performance.now() + wait
      if (time >= due) return
      due = time
      clearTimeout(timer)
      timer = setTimeout(run, wait)
    }
    // Events reload at most once per MIN_GAP_MS, and not after a failure.
    const reloadNow = () => {
      isRequested = true
      at(0)
    }
    again.current = wait => {
      if (wait === 0) return reloadNow()
      if (failures > 0 || final) return
      if (busy) wanted = true
      else at(Math.max(100, begun + wait - performance.now()))
    }
    const turn = () => {
      if (!document.hidden && !final) at(0)
    }
    document.addEventListener("visibilitychange", turn)
    // Reload soon when the broker answers again.
    const recover = () => {
      if (failures > 0 && !final) at(Math.random() * 500)
    }
    reloads.add(reloadNow)
    const unwatch = [
      () => void reloads.delete(reloadNow),
      stream.watch(() => stream.value === "open" && recover()),
      held.watch(() => !held.value && !final && at(0)),
      silence.watch(() => silence.value === 0 && recover()),
    ]
    void run()
    return () => {
      for (const end of unwatch) end()
      document.removeEventListener("visibilitychange", turn)
      clearTimeout(timer)
      abort.abort()
    }
  }, [key])

  const reload: EventHandler = name => name !== "listening" && again.current(MIN_GAP_MS)
  useStream(state.value === undefined || typeof events !== "string" ? undefined : events, reload)
  useEffect(() => {
    if (typeof events !== "object") return
    events.add(reload)
    return () => void events.delete(reload)
  }, [events])
  const refresh = useCallback(() => again.current(0), [])
  const problem = state.value !== undefined && state.problem?.isOutage ? undefined : state.problem
  return { value: state.value, problem, stale: state.key !== key, refresh }
}

/** Re-renders every `ms` milliseconds while the page is visible and not held. `isNew`: also while it is held. */
export function useClock(ms = 1_000, isNew = false): number {
  const [now, set] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden && (!held.value || isNew)) set(Date.now())
    }, ms)
    return () => clearInterval(timer)
  }, [ms, isNew])
  return now
}
