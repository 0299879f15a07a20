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
  toggle: (tasks: readonly ListedTask[], on: boolean) => void
  clear: () => void
}

/** The selection of one list; it is empty again when the filter changes. Undefined: the user cannot change tasks. */
export function useSelection(filter: string): Selection | undefined {
  const [state, setState] = useState<{ filter: string; selected: ReadonlyMap<string, ListedTask> }>({
    filter,
    selected: new Map(),
  })
  if (!can("operate")) return undefined
  const selected = state.filter === filter ? state.selected : new Map<string, ListedTask>()
  const toggle = (tasks: readonly ListedTask[], on: boolean) => {
    const next = new Map(selected)
    for (const task of tasks)
      if (!on) next.delete(task.id)
      else if (next.size < MAX_SELECTED) next.set(task.id, task)
    setState({ filter, selected: next })
  }
  return { selected, toggle, clear: () => setState({ filter, selected: new Map() }) }
}

export const SelectBox = ({ task, selection }: { task: ListedTask; selection: Selection }) => (
  <input
    type="checkbox"
    class="pick"
    aria-label={`Select ${task.id}`}
    checked={selection.selected.has(task.id)}
    onChange={event => selection.toggle([task], event.currentTarget.checked)}
  />
)

const DELAYED = ["start_now", "cancel"] as const

/** What can be done to all tasks of a list, by its state. */
const ACTIONS_OF: Partial<Record<string, readonly BulkAction[]>> = {
  queued: ["cancel"],
  processing: ["cancel"],
  delayed: DELAYED,
  scheduled: DELAYED,
  retrying: DELAYED,
  dead: ["retry", "purge"],
}

/** Whether the action fits the state in which the list shows a task. A retrying task without a due time is ready. */
function fits(action: BulkAction, { status, due_at }: ListedTask): boolean {
  if (action === "retry" || action === "purge") return status === "dead"
  if (action === "cancel") return !ENDED_STATES.includes(status)
  return due_at !== undefined && (status === "scheduled" || status === "retrying")
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
  const { selected, toggle, clear } = selection
  const [dialog, setDialog] = useState<{ title: string; order: BulkOrder }>()
  const allShown = shown.length > 0 && shown.every(({ id }) => selected.has(id))
  const chosen = (["retry", "start_now", "cancel", "purge"] as const)
    .map(action => ({
      action,
      ids: [...selected.values()].filter(task => fits(action, task)).map(({ id }) => id),
    }))
    .filter(({ ids }) => ids.length > 0)
  const ofAll = selected.size > 0 || filter === undefined ? [] : (ACTIONS_OF[listed] ?? [])
  const close = () => {
    setDialog(undefined)
    clear()
  }
  return (
    <div class="selection">
      <label class="check">
        <input
          type="checkbox"
          checked={allShown}
          disabled={shown.length === 0}
          onChange={event => toggle(shown, event.currentTarget.checked)}
        />
        <span>{selected.size > 0 ? `${formatCount(selected.size)} selected` : "Select this page"}</span>
      </label>
      <span class="grow" />
      {selected.size > 0 && chosen.length === 0 && (
        <span class="dim">Done and cancelled tasks cannot be changed</span>
      )}
      {chosen.map(({ action, ids }) => (
        <button
          key={action}
          type="button"
          onClick={() =>
            setDialog({
              title: `${ACTION_WORDS[action].verb}: ${ids.length === 1 ? ids[0]! : `${formatCount(ids.length)} selected tasks`}`,
              order: { action, filter: { task_ids: ids } },
            })
          }
        >
          {ACTION_WORDS[action].verb} {formatCount(ids.length)}
        </button>
      ))}
      {selected.size > 0 && (
        <button type="button" class="quiet" onClick={clear}>
          Clear selection
        </button>
      )}
      {ofAll.map(action => (
        <button
          key={action}
          type="button"
          class="quiet"
          onClick={() =>
            setDialog({
              title: `${ACTION_WORDS[action].verb}: all matching tasks`,
              order: {
                action,
                filter: listed === "dead" ? filter! : { ...filter, state: listed as StateWord },
              },
            })
          }
        >
          {ACTION_WORDS[action].verb} all matching
        </button>
      ))}
      {dialog && <BulkDialog {...dialog} onClose={close} onDone={onDone} />}
    </div>
  )
}
