/** A value that views look at: they are drawn anew when it changes. */
import { useEffect, useState } from "preact/hooks"

export class Store<T> {
  readonly #views = new Set<() => void>()
  constructor(public value: T) {}

  set(value: T): void {
    if (value === this.value) return
    this.value = value
    for (const view of this.#views) view()
  }

  watch(view: () => void): () => void {
    this.#views.add(view)
    return () => void this.#views.delete(view)
  }
}

export function useStore<T>(store: Store<T>): T {
  const [, draw] = useState(store.value)
  useEffect(() => {
    const look = () => draw(() => store.value)
    look() // it may have changed since this was drawn
    return store.watch(look)
  }, [store])
  return store.value
}
