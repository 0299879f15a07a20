/** A value that re-renders the components that use it when it changes. */
import { useEffect, useState } from "preact/hooks"

export class Store<T> {
  readonly #views = new Set<() => unknown>()
  constructor(public value: T) {}

  set(value: T): void {
    if (value === this.value) return
    this.value = value
    for (const view of this.#views) view()
  }

  watch(view: () => unknown): () => void {
    this.#views.add(view)
    return () => void this.#views.delete(view)
  }
}

export function useStore<T>(store: Store<T>): T {
  const [, draw] = useState(store.value)
  useEffect(() => {
    const look = () => draw(() => store.value)
    look() // the value may have changed between render and effect
    return store.watch(look)
  }, [store])
  return store.value
}
