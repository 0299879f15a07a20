/** Names of queues: suggestions for filters, and links to those that resemble a name without tasks. */
import { useEffect, useState } from "preact/hooks"
import type { QueuesAnswer } from "../wire/managing.ts"
import { can, requestJson } from "./api.ts"
import { Filter } from "./fields.tsx"
import { refine } from "./route.ts"
import { SafeText } from "./text.tsx"

const MAX_SIMILAR = 8

/** The names are loaded when the view opens. */
export function useQueueNames(): readonly string[] {
  const [names, setNames] = useState<readonly string[]>([])
  useEffect(() => {
    if (!can("read")) return
    const abort = new AbortController()
    requestJson<QueuesAnswer>("GET", "/queues?limit=1000", undefined, abort.signal)
      .then(({ queues }) => setNames(queues.map(({ queue }) => queue)))
      .catch(() => {}) // the filter works without suggestions
    return () => abort.abort()
  }, [])
  return names
}

const QUEUE_NAMES_ID = "queue-names"

/** A filter for one queue, with suggestions. */
export const QueueNameFilter = (props: { value: string; onChange: (queue: string) => void }) => (
  <>
    <Filter label="Queue" {...props} placeholder="all" list={QUEUE_NAMES_ID} />
    <datalist id={QUEUE_NAMES_ID}>
      {useQueueNames().map(name => (
        <option key={name} value={name} />
      ))}
    </datalist>
  </>
)

/** What may have been meant by a name of which there is nothing to show. */
export function SimilarQueues({ name }: { name: string }) {
  const similar = useQueueNames().filter(
    of => name !== "" && of !== name && of.toLowerCase().includes(name.toLowerCase()),
  )
  if (similar.length === 0) return null
  return (
    <p>
      Queues with similar names:{" "}
      {similar.slice(0, MAX_SIMILAR).map(of => (
        <button key={of} type="button" class="chip" onClick={() => refine({ queue: of })}>
          <SafeText text={of} most={64} />
        </button>
      ))}
    </p>
  )
}
