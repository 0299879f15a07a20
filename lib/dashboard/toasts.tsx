/** Notices in the corner of the page, and `attempt`, which shows an error as a notice. */
import { Problem } from "./api.ts"
import { Icon } from "./icon.tsx"
import { Store, useStore } from "./store.ts"
import { SafeText } from "./text.tsx"

interface Toast {
  id: number
  text: string
  detail?: string | undefined
  bad: boolean
}

const toasts = new Store<readonly Toast[]>([])

let lastId = 0

const dismiss = (id: number) => toasts.set(toasts.value.filter(toast => toast.id !== id))

export function notify(text: string, detail?: string, bad = false): void {
  const id = ++lastId
  toasts.set([...toasts.value.slice(-3), { id, text, detail, bad }])
  if (!bad) setTimeout(dismiss, 6_000, id)
}

/** Runs the action of a button. Shows an error as a notice and returns false, so that a dialog keeps its input. */
export async function attempt(run: () => Promise<unknown>): Promise<boolean> {
  try {
    await run()
    return true
  } catch (error) {
    notifyError(error as Error)
    return false
  }
}

export function notifyError(error: Error): void {
  if (error instanceof Problem) notify(error.message, error.detail, true)
  else if (error.name !== "AbortError") notify("Internal error in this page", String(error), true)
}

export function Toasts() {
  const all = useStore(toasts)
  const list = (bad: boolean) =>
    all
      .filter(toast => toast.bad === bad)
      .map(({ id, text, detail }) => (
        <div key={id} class={bad ? "toast bad" : "toast"}>
          <div>
            <strong>
              <SafeText text={text} most={300} />
            </strong>
            {detail && detail !== text && (
              <p>
                <SafeText text={detail} most={600} />
              </p>
            )}
          </div>
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))
  return (
    <div class="toasts">
      <div role="status">{list(false)}</div>
      <div role="alert">{list(true)}</div>
    </div>
  )
}
