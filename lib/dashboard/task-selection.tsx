/** Selecting tasks of a list, and what an operator can do to the selected ones or to all that match. */
import { useState } from "preact/hooks"
import type { BulkAction } from "../wire/bulk-words.ts"
import { ENDED_STATES, type StateWord } from "../wire/states.ts"
import { can } from "./api.ts"
import { BulkDialog, type BulkOrder } from "./bulk-dialog.tsx"
import { ACTION_WORDS } from "./bulk-view.tsx"
import type { ListedTask } from "./task-pages.ts"
import { formatCount } from "./text.tsx"

/** As many tasks as one bulk operation can name. */
const MAX_SELECTED = 1_000

export interface Selection {
  selected: ReadonlyMap<string, ListedTask>
  /** Everything that the filter matches is selected, shown or not. */
  everything: boolean
  toggle: (tasks: readonly ListedTask[], on: boolean) => void
  selectEverything: () => void
  clear: () => void
}

/** The selection of one list; it is empty again when the filter changes. Undefined: the user cannot change tasks. */
export function useSelection(filter: string): Selection | undefined {
  const none = { filter, selected: new Map<string, ListedTask>(), everything: false }
  const [state, setState] = useState<typeof none>(none)
  if (!can("operate")) return undefined
  const { selected, everything } = state.filter === filter ? state : none
  const toggle = (tasks: readonly ListedTask[], on: boolean) => {
    const next = new Map(selected)
    for (const task of tasks)
      if (!on) next.delete(task.id)
      else if (next.size < MAX_SELECTED) next.set(task.id, task)
    setState({ filter, selected: next, everything: false })
  }
  return {
    selected,
    everything,
    toggle,
    selectEverything: () => setState({ ...none, everything: true }),
    clear: () => setState(none),
  }
}

export const SelectBox = ({ task, selection }: { task: ListedTask; selection: Selection }) => (
  <input
    type="checkbox"
    class="pick"
    aria-label={`Select ${task.id}`}
    checked={selection.everything || selection.selected.has(task.id)}
    onChange={event => selection.toggle([task], event.currentTarget.checked)}
  />
)

/** What can be done to tasks of a state, and for a list of all states: to which of its tasks. */
type Actions = readonly (readonly [action: BulkAction, state: StateWord, words?: string])[]

const ofDelayed = (state: StateWord): Actions => [
  ["start_now", state],
  ["cancel", state],
]
const ofEnded = (state: StateWord): Actions => [
  ["submit_again", state],
  ["purge", state],
]

/** What can be done to all tasks of a list, by its state. */
const ACTIONS_OF: Partial<Record<string, Actions>> = {
  all: [
    ["retry", "dead", "dead"],
    ["start_now", "delayed", "delayed"],
    ["cancel", "any", "waiting or running"],
    ["submit_again", "ended", "ended"],
    ["purge", "ended", "ended"],
  ],
  queued: [["cancel", "queued"]],
  processing: [["cancel", "processing"]],
  delayed: ofDelayed("delayed"),
  scheduled: ofDelayed("scheduled"),
  retrying: ofDelayed("retrying"),
  dead: [["retry", "dead"], ...ofEnded("dead")],
  done: ofEnded("done"),
  cancelled: ofEnded("cancelled"),
}

const ROW_ACTIONS = ["retry", "start_now", "cancel", "submit_again", "purge"] as const

/** Whether the action fits the state in which the list shows a task. A retrying task without a due time is ready. */
function fits(action: BulkAction, { status, due_at }: ListedTask): boolean {
  const hasEnded = ENDED_STATES.includes(status)
  if (action === "retry") return status === "dead"
  if (action === "purge" || action === "submit_again") return hasEnded
  if (action === "cancel") return !hasEnded
  return due_at !== undefined && (status === "scheduled" || status === "retrying")
}

/** Names these tasks. If all of them are dead, one that was retried and is done meanwhile is not deleted. */
function orderOf(action: BulkAction, tasks: readonly ListedTask[]): BulkOrder {
  const task_ids = tasks.map(({ id }) => id)
  if (action !== "purge" && action !== "submit_again") return { action, filter: { task_ids } }
  const state = tasks.every(({ status }) => status === "dead") ? "dead" : "ended"
  return { action, filter: { task_ids, state } }
}

export function SelectionBar(props: {
  selection: Selection
  shown: readonly ListedTask[]
  /** The state that the list shows. */
  listed: string
  /** Selects all tasks of the list; undefined: no filter of a bulk operation does. */
  filter: BulkOrder["filter"] | undefined
  onDone: () => void
}) {
  const { selection, shown, listed, filter, onDone } = props
  const { selected, everything, toggle, selectEverything, clear } = selection
  const [dialog, setDialog] = useState<{ title: string; order: BulkOrder }>()
  const allShown = shown.length > 0 && (everything || shown.every(({ id }) => selected.has(id)))
  const chosen = ROW_ACTIONS.map(action => ({
    action,
    tasks: [...selected.values()].filter(task => fits(action, task)),
  })).filter(({ tasks }) => tasks.length > 0)
  return (
    <div class="selection">
      <label class="check">
        <input
          type="checkbox"
          checked={allShown}
          disabled={shown.length === 0}
          onChange={event => toggle(shown, event.currentTarget.checked)}
        />
        <span>
          {everything
            ? "Everything that matches is selected"
            : selected.size > 0
              ? `${formatCount(selected.size)} selected`
              : "Select this page"}
        </span>
      </label>
      {!everything && filter !== undefined && (shown.length > 0 || selected.size > 0) && (
        <button type="button" class="quiet" onClick={selectEverything}>
          Select everything that matches
        </button>
      )}
      {(everything || selected.size > 0) && (
        <button type="button" class="quiet" onClick={clear}>
          Clear selection
        </button>
      )}
      <span class="grow" />
      {chosen.map(({ action, tasks }) => (
        <button
          key={action}
          type="button"
          onClick={() =>
            setDialog({
              title: `${ACTION_WORDS[action].verb}: ${tasks.length === 1 ? tasks[0]!.id : `${formatCount(tasks.length)} selected tasks`}`,
              order: orderOf(action, tasks),
            })
          }
        >
          {ACTION_WORDS[action].verb} {formatCount(tasks.length)}
        </button>
      ))}
      {everything &&
        filter !== undefined &&
        (ACTIONS_OF[listed] ?? []).map(([action, state, words]) => (
          <button
            key={action}
            type="button"
            onClick={() =>
              setDialog({
                title: `${ACTION_WORDS[action].verb}: all matching${words ? ` ${words}` : ""} tasks`,
                order: { action, filter: { ...filter, state } },
              })
            }
          >
            {ACTION_WORDS[action].verb} all {words ?? "matching"}
          </button>
        ))}
      {dialog && (
        <BulkDialog
          {...dialog}
          onClose={() => setDialog(undefined)}
          onDone={() => {
            clear()
            onDone()
          }}
        />
      )}
    </div>
  )
}
