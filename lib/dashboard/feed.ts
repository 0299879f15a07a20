/** The event stream that is open in every view: it feeds the charts and tells the lists of queues when to reload. */
import { useEffect, useMemo } from "preact/hooks"
import { session } from "./api.ts"
import { clockOffsetMs } from "./clock.ts"
import { History } from "./history.ts"
import { type EventHandler, feedListeners, stream, useStream } from "./live.ts"
import { watchPulse } from "./pulse.ts"

export const recent = new History(() => clockOffsetMs)
const STORAGE_KEY = "charts"

/** Charts survive a reload of the tab, but not another user. */
function restore(): void {
  const kept = sessionStorage.getItem(STORAGE_KEY)
  sessionStorage.removeItem(STORAGE_KEY)
  const [user, text] = kept === null ? [] : (JSON.parse(kept) as [string, string])
  if (text !== undefined && user === session.value?.name) recent.restore(text)
}

function save(): void {
  try {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify([session.value?.name, recent.save()]))
  } catch {
    // The storage is full or switched off: the charts begin again.
  }
}

export function useFeed(): void {
  const query = useMemo(() => {
    restore()
    return recent.eventsQuery()
  }, [])
  useEffect(() => {
    const end = watchPulse(heardAt => stream.value === "open" && recent.addNews(heardAt))
    addEventListener("pagehide", save)
    return () => {
      end()
      removeEventListener("pagehide", save)
      recent.clear()
    }
  }, [])
  const hear: EventHandler = (name, data, id) => {
    recent.addEvent(name, data, id)
    for (const listener of feedListeners) listener(name, data, id)
  }
  useStream(query, hear, stream)
}
