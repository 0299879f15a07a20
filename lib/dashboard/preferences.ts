/** What a person has chosen for this browser: the color theme, and how times are shown. */
import { Store } from "./store.ts"

export const THEMES = ["system", "light", "dark"] as const
export const TIMES = ["relative", "local", "UTC"] as const

/** A choice that is kept in localStorage. Browsers may refuse that; the choice then lasts until the page is closed. */
class Choice<T extends string> extends Store<T> {
  constructor(
    private readonly key: string,
    private readonly options: readonly T[],
  ) {
    super(options[0]!)
    const kept = this.#storage(storage => storage.getItem(key))
    this.value = options.find(option => option === kept) ?? this.value
  }

  choose(option: string): void {
    const value = this.options.find(known => known === option)
    if (value === undefined) return
    this.set(value)
    this.#storage(storage => storage.setItem(this.key, value))
  }

  #storage<R>(use: (storage: Storage) => R): R | undefined {
    try {
      return use(localStorage)
    } catch {
      return undefined
    }
  }
}

export const theme = new Choice("theme", THEMES)
export const times = new Choice("times", TIMES)

/** The zone in which times are shown; undefined: that of the browser. */
export const timeZone = () => (times.value === "UTC" ? "UTC" : undefined)

const applyTheme = () => {
  document.documentElement.dataset.theme = theme.value
}

/** Applies the theme now and whenever it changes. */
export function followTheme(): void {
  applyTheme()
  theme.watch(applyTheme)
}

/** Calls `draw` when the colors change. */
export function onColors(draw: () => void): () => void {
  const dark = matchMedia("(prefers-color-scheme: dark)")
  dark.addEventListener("change", draw)
  const unwatch = theme.watch(draw)
  return () => {
    dark.removeEventListener("change", draw)
    unwatch()
  }
}
