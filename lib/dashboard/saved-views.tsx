/** Views that a person has saved in this browser: a name and the part of the URL that holds the view with its filters. */
import { useState } from "preact/hooks"
import { Icon } from "./icon.tsx"
import { Store, useStore } from "./store.ts"
import { SafeText } from "./text.tsx"

interface SavedView {
  name: string
  hash: string
}

const STORAGE_KEY = "views"
const MAX_VIEWS = 50

const views = new Store<readonly SavedView[]>(read())

function read(): readonly SavedView[] {
  try {
    const kept: SavedView[] = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]")
    return kept.filter(({ name, hash }) => typeof name === "string" && /^#\//.test(hash))
  } catch {
    return []
  }
}

/** Without storage, the views last until the page is closed. */
function keep(next: readonly SavedView[]): void {
  views.set(next)
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(next))
  } catch {}
}

/** Another tab may have changed them. */
const without = (name: string) => read().filter(view => view.name !== name)

/** The saved views, and a field that saves the current one. A name that exists is replaced. */
export function SavedViews() {
  const all = useStore(views)
  const [name, setName] = useState("")
  return (
    <form
      class="views"
      onSubmit={event => {
        event.preventDefault()
        const view = { name: name.trim(), hash: location.hash || "#/queues" }
        if (view.name !== "") keep([...without(view.name), view].slice(-MAX_VIEWS))
        setName("")
      }}
    >
      {all.length > 0 && (
        <ul aria-label="Saved views">
          {all.map(({ name, hash }) => (
            <li key={name}>
              <a href={hash}>
                <SafeText text={name} most={60} />
              </a>
              <button
                type="button"
                class="quiet"
                aria-label={`Remove the view ${name}`}
                title="Remove"
                onClick={() => keep(without(name))}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      <input
        aria-label="Name of this view"
        placeholder="Name of this view"
        maxLength={60}
        value={name}
        onInput={event => setName(event.currentTarget.value)}
      />
      <button type="submit" disabled={name.trim() === ""}>
        Save this view
      </button>
    </form>
  )
}
