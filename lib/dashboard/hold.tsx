/** Holding the page: it shows what it shows until the user continues. Filters, pages and actions still load. */
import { Icon } from "./icon.tsx"
import { Store, useStore } from "./store.ts"

export const held = new Store(false)

export const toggleHold = () => held.set(!held.value)

export function HoldButton() {
  const isHeld = useStore(held)
  const label = isHeld ? "Continue refreshing (h)" : "Hold the page: stop refreshing (h)"
  return (
    <button type="button" class="quiet hold" aria-label={label} title={label} onClick={toggleHold}>
      <Icon name={isHeld ? "play" : "pause"} />
    </button>
  )
}
