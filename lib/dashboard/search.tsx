/** Search: the field in the header that finds a task by a part of its id, and filters that match parts of names. */
import { useEffect, useState } from "preact/hooks"
import type { HistoryAnswer } from "../wire/charting.ts"
import type { TasksAnswer } from "../wire/inspecting.ts"
import { can, queryOf, requestJson } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { Filter } from "./fields.tsx"
import { useQueueNames } from "./queue-names.tsx"
import { go, refine } from "./route.ts"
import { attempt } from "./toasts.tsx"

/** Opens the task that the text identifies; if there are several, or none yet, a list of those that contain it. */
async function openTask(text: string): Promise<void> {
  const page = `#/tasks/${encodeURIComponent(text)}`
  if (!can("read") || !/^([\w.-]{1,64}:)?[\w.-]{1,64}$/.test(text)) return go(page)
  const query = queryOf({ state: "all", id: text, limit: 2 })
  const { tasks, next } = await requestJson<TasksAnswer>("GET", `/tasks${query}`)
  const [first, second] = tasks
  const isWhole = first?.id.toLowerCase().split(":").at(-1) === text.toLowerCase().split(":").at(-1)
  if (first !== undefined && second === undefined && (isWhole || next === undefined))
    return go(`#/tasks/${encodeURIComponent(first.id)}`)
  // The page of a task says why it does not exist.
  if (first === undefined && next === undefined && text.length >= LENGTH_OF_IDS) return go(page)
  go(`#/tasks${queryOf({ state: "all", id: text })}`)
}
const LENGTH_OF_IDS = 22

export function Search() {
  const [id, setId] = useState("")
  const [busy, setBusy] = useState(false)
  return (
    <search>
      <form
        onSubmit={async event => {
          event.preventDefault()
          if (id.trim() === "" || busy) return
          setBusy(true)
          if (await attempt(() => openTask(id.trim()))) setId("")
          setBusy(false)
        }}
      >
        <input
          data-search
          type="search"
          aria-label="Task id or a part of it"
          aria-keyshortcuts="/"
          placeholder="Task id or part   /"
          autocomplete="off"
          spellcheck={false}
          value={id}
          onInput={event => setId(event.currentTarget.value)}
        />
      </form>
    </search>
  )
}

/** A whole name selects exactly that, any other text the names that contain it. */
function PartFilter(props: {
  label: string
  name: "queue" | "type"
  query: URLSearchParams
  /** The names that are suggested. */
  known: readonly string[]
}) {
  const { label, name, query, known } = props
  const part = `${name}_part`
  const list = `known-${name}s`
  return (
    <>
      <Filter
        label={label}
        value={query.get(name) || query.get(part) || ""}
        onChange={value => {
          const isWhole = known.includes(value)
          refine({ [name]: isWhole ? value : "", [part]: isWhole ? "" : value })
        }}
        list={list}
      />
      <datalist id={list}>
        {known.map(of => (
          <option key={of} value={of} />
        ))}
      </datalist>
    </>
  )
}

export const QueueFilter = ({ query }: { query: URLSearchParams }) => (
  <PartFilter label="Queue contains" name="queue" query={query} known={useQueueNames()} />
)

/** The types of the tasks that this page has shown: the broker has no list of the types of all queues. */
const seenTypes = new Set<string>()
const MAX_TYPES = 500

export function noteTypes(tasks: readonly { type: string }[]): void {
  for (const { type } of tasks) if (seenTypes.size < MAX_TYPES) seenTypes.add(type)
}

/** The types of which a queue had tasks in the last day. */
function useTypesOf(queue: string | undefined): readonly string[] {
  const [types, setTypes] = useState<readonly string[]>([])
  useEffect(() => {
    if (queue === undefined || !can("read")) return
    const abort = new AbortController()
    const query = queryOf({ queue, types: "true", from_at: brokerNow() - DAY_MS })
    requestJson<HistoryAnswer>("GET", `/history${query}`, undefined, abort.signal)
      .then(({ types = [] }) => setTypes(types.map(({ type }) => type)))
      .catch(() => {}) // the filter works without suggestions
    return () => abort.abort()
  }, [queue])
  return types
}
const DAY_MS = 86_400_000

export function TypeFilter({ query, queue }: { query: URLSearchParams; queue: string | undefined }) {
  const known = [...new Set([...useTypesOf(queue), ...seenTypes])].sort()
  return <PartFilter label="Type contains" name="type" query={query} known={known} />
}
