/** The settings of the page in this browser, in a popover below the header. */
import { useId } from "preact/hooks"
import { Select } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { THEMES, TIMES, theme, times } from "./preferences.ts"
import { SavedViews } from "./saved-views.tsx"
import { useStore } from "./store.ts"

const asOptions = (values: readonly string[]) => values.map(value => [value, value] as const)

export function Settings({ showShortcuts }: { showShortcuts: () => void }) {
  const id = useId()
  return (
    <>
      <button type="button" class="quiet" popovertarget={id} aria-label="Settings" title="Settings">
        <Icon name="gear" />
      </button>
      <div id={id} class="settings" popover="auto">
        <Select
          label="Theme"
          value={useStore(theme)}
          options={asOptions(THEMES)}
          onChange={value => theme.choose(value)}
        />
        <Select
          label="Times"
          value={useStore(times)}
          options={asOptions(TIMES)}
          onChange={value => times.choose(value)}
        />
        <SavedViews />
        <button type="button" popovertarget={id} onClick={showShortcuts}>
          Keyboard shortcuts <kbd>?</kbd>
        </button>
      </div>
    </>
  )
}
