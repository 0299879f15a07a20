/** Keyboard shortcuts: a list of them, views by `g` and a letter, rows by `j` and `k`. None works while one types. */
import { useEffect, useState } from "preact/hooks"
import { Dialog } from "./dialog.tsx"
import { toggleHold } from "./hold.tsx"
import { reloadAll } from "./live.ts"
import { go } from "./route.ts"

type Views = readonly (readonly [view: string, label: string])[]

const KEYS: readonly [keys: string, does: string][] = [
  ["?", "show this list"],
  ["/", "search for a task"],
  ["j, k", "go to the next or the previous row"],
  ["Enter", "open the row"],
  ["r", "reload the view"],
  ["h", "hold the page, or continue"],
]

/** Listens to keys. Returns how to show the list, and the list if it is shown. */
export function useShortcuts(views: Views) {
  const [shown, setShown] = useState(false)
  useEffect(() => {
    let isGoing = false // `g` was pressed
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(event)) return
      const { key } = event
      const view = isGoing ? views.find(([of]) => of[0] === key) : undefined
      if (!["Shift", "CapsLock"].includes(key)) isGoing = key === "g" && !isGoing
      if (view !== undefined) go(`#/${view[0]}`)
      else if (key === "?") setShown(true)
      else if (key === "/") document.querySelector<HTMLInputElement>("[data-search]")?.focus()
      else if (key === "j") moveInRows(1)
      else if (key === "k") moveInRows(-1)
      else if (key === "r") reloadAll()
      else if (key === "h") toggleHold()
      else return
      event.preventDefault()
    }
    addEventListener("keydown", onKey)
    return () => removeEventListener("keydown", onKey)
  }, [])
  const list = shown && <Shortcuts views={views} onClose={() => setShown(false)} />
  return { show: () => setShown(true), list }
}

const isTyping = ({ target }: KeyboardEvent): boolean =>
  document.querySelector("dialog[open]") !== null ||
  (target as Element).closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null

/** Focuses the link of the next or the previous row, so that Enter opens it. */
function moveInRows(step: 1 | -1): void {
  const rows = [...document.querySelectorAll("main tbody tr:has(a)")]
  const current = rows.findIndex(row => row.contains(document.activeElement))
  const next = current < 0 ? (step > 0 ? 0 : rows.length - 1) : current + step
  rows[next]?.querySelector("a")?.focus()
}

const Shortcuts = ({ views, onClose }: { views: Views; onClose: () => void }) => (
  <Dialog
    title="Keyboard shortcuts"
    onClose={onClose}
    onSubmit={onClose}
    actions={
      <button type="submit" class="primary">
        Close
      </button>
    }
  >
    <dl class="facts keys">
      {KEYS.map(([keys, does]) => (
        <Key key={keys} keys={keys} does={does} />
      ))}
      {views.map(([view, label]) => (
        <Key key={view} keys={`g ${view[0]}`} does={`go to ${label}`} />
      ))}
    </dl>
  </Dialog>
)

const Key = ({ keys, does }: { keys: string; does: string }) => (
  <>
    <dt>
      {keys.split(/, | /).map(key => (
        <kbd key={key}>{key}</kbd>
      ))}
    </dt>
    <dd>{does}</dd>
  </>
)
