/** The frame of the page: sign-in, navigation, search for a task, and the connection state. */
import { render } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import { Actions } from "./actions-page.tsx"
import { loadSession, outage, Problem, session, sessionEnded, signIn, signOut } from "./api.ts"
import { BulkOperations } from "./bulk-table.tsx"
import { DeadLetters } from "./dead.tsx"
import { Events } from "./events-page.tsx"
import { useFeed } from "./feed.ts"
import { Field } from "./fields.tsx"
import { HoldButton, held } from "./hold.tsx"
import { applyInstallation, Brand, installationName } from "./installation.tsx"
import { stream } from "./live.ts"
import { Empty, ProblemNote } from "./parts.tsx"
import { followTheme } from "./preferences.ts"
import { silence } from "./pulse.ts"
import { Queue } from "./queue.tsx"
import { Queues } from "./queues.tsx"
import { type Route, route } from "./route.ts"
import { Schedule } from "./schedule.tsx"
import { Schedules } from "./schedules.tsx"
import { Search } from "./search.tsx"
import { Settings } from "./settings.tsx"
import { useShortcuts } from "./shortcuts.tsx"
import { useStore } from "./store.ts"
import { Task } from "./task-page.tsx"
import { Tasks } from "./tasks.tsx"
import { escapeInvisible, SafeText } from "./text.tsx"
import { attempt, Toasts } from "./toasts.tsx"
import { WorkerPage } from "./worker-page.tsx"
import { Workers } from "./workers.tsx"

const RETRY_MS = 3_000
const VIEWS = [
  ["queues", "Queues"],
  ["tasks", "Tasks"],
  ["schedules", "Schedules"],
  ["dead", "Dead letters"],
  ["bulk", "Bulk"],
  ["workers", "Workers"],
  ["events", "Events"],
  ["actions", "Actions"],
] as const

function App() {
  const user = useStore(session)
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>
    const look = () =>
      loadSession().catch(() => {
        timer = setTimeout(look, RETRY_MS)
      })
    void look()
    return () => clearTimeout(timer)
  }, [])
  return (
    <>
      {user === undefined ? <Connecting /> : user === null ? <Login /> : <SignedIn />}
      <Toasts />
    </>
  )
}

function Connecting() {
  const away = useStore(outage)
  return <main class="login">{away && <p role="status">The broker cannot be reached. Retrying…</p>}</main>
}

function Login() {
  const ended = useStore(sessionEnded)
  const field = useRef<HTMLInputElement>(null)
  const [problem, setProblem] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  useEffect(() => field.current?.focus(), [])
  const submit = async () => {
    setBusy(true)
    setProblem(undefined)
    try {
      await signIn(field.current!.value)
    } catch (error) {
      const { status, message, detail } = error as Problem
      setProblem(
        status === 401 ? new Problem(401, "The token is not valid") : new Problem(status, message, detail),
      )
      setBusy(false)
      field.current?.select()
    }
  }
  return (
    <main class="login">
      <form
        class="panel"
        onSubmit={event => {
          event.preventDefault()
          void submit()
        }}
      >
        <h1>
          <Brand />
        </h1>
        {ended && (
          <p class="note warn" role="status">
            Your session has ended. Sign in again to return to this view.
          </p>
        )}
        <Field
          label="Token"
          hint="A token from API_TOKENS or API_SECRET_TOKEN. If neither is set, the token is in .data/token. The browser does not store it."
        >
          {(id, hint) => (
            <input
              ref={field}
              id={id}
              aria-describedby={hint}
              type="password"
              name="token"
              autocomplete="current-password"
              required
              maxLength={2_000}
            />
          )}
        </Field>
        {problem && <ProblemNote problem={problem} />}
        <button type="submit" class="primary" disabled={busy}>
          Sign in
        </button>
      </form>
    </main>
  )
}

function SignedIn() {
  useFeed()
  const at = useStore(route)
  const { name = "", roles = [], queues } = session.value ?? {}
  const place = at.path[0] ?? "queues"
  const main = useRef<HTMLElement>(null)
  useEffect(() => {
    const label = VIEWS.find(([of]) => of === place)?.[1] ?? "Dashboard"
    showCurrent()
    document.title = `${at.path[1] ? `${escapeInvisible(at.path[1], 60)} · ` : ""}${label} · ${installationName}`
  }, [at])
  const shortcuts = useShortcuts(VIEWS)
  return (
    <>
      <header class="top">
        <div>
          <button type="button" class="skip" onClick={() => main.current?.focus()}>
            Skip to content
          </button>
          <span class="brand">
            <Brand />
          </span>
          <nav aria-label="Main">
            {VIEWS.map(([of, label]) => (
              <a key={of} href={`#/${of}`} aria-current={of === place ? "page" : undefined}>
                {label}
              </a>
            ))}
          </nav>
          <Search />
          <Connection />
          <HoldButton />
          <div class="who">
            <span title={`${roles.join(", ")}${queues ? ` on ${queues.join(", ")}` : ""}`}>
              <SafeText text={name} most={40} />
              {!roles.includes("operate") && (
                <small>
                  {(["submit", "work"] as const).find(role => roles.includes(role)) ??
                    (roles.includes("read") ? "read only" : "watch only")}
                </small>
              )}
            </span>
            <Settings showShortcuts={shortcuts.show} />
            <button type="button" class="quiet" onClick={() => attempt(signOut)}>
              Sign out
            </button>
          </div>
        </div>
      </header>
      <main ref={main} tabIndex={-1}>
        <CurrentView at={at} key={at.path.join("/")} />
      </main>
      {shortcuts.list}
    </>
  )
}

/** On narrow screens the navigation scrolls. (scrollIntoView would also move where the next Tab starts.) */
function showCurrent(): void {
  const link = document.querySelector<HTMLElement>(".top [aria-current]")
  const nav = link?.parentElement
  if (nav) nav.scrollLeft = link.offsetLeft - nav.offsetLeft - nav.clientWidth / 2
}

function CurrentView({ at }: { at: Route }) {
  const [place = "queues", name] = at.path
  if (place === "queues") return name === undefined ? <Queues route={at} /> : <Queue name={name} route={at} />
  if (place === "tasks") return name === undefined ? <Tasks route={at} /> : <Task id={name} />
  if (place === "schedules") return name === undefined ? <Schedules route={at} /> : <Schedule id={name} />
  if (place === "dead") return <DeadLetters route={at} />
  if (place === "bulk") return <BulkOperations />
  if (place === "workers") return name === undefined ? <Workers route={at} /> : <WorkerPage name={name} />
  if (place === "events") return <Events route={at} />
  if (place === "actions") return <Actions route={at} />
  return (
    <Empty title="This page does not exist">
      <a href="#/queues">Go to queues</a>
    </Empty>
  )
}

function Connection() {
  const away = useStore(outage)
  const events = useStore(stream)
  const quiet = useStore(silence)
  const isHeld = useStore(held)
  const [tone, text] =
    away === "broker"
      ? ["bad", "The broker cannot be reached"]
      : quiet > 0
        ? // Rounded, so that screen readers do not read it out every second.
          ["bad", `No news for ${quiet < 10 ? quiet : `over ${quiet - (quiet % 10)}`} s`]
        : away === "redis"
          ? ["bad", "The broker cannot reach Redis"]
          : events === "lost"
            ? ["warn", "Reconnecting"]
            : isHeld
              ? ["warn", "Held"]
              : ["good", "Live"]
  return (
    <span
      class={`connection ${tone}`}
      role="status"
      title={events === "open" ? "Updated by events" : "Updated every few seconds"}
    >
      {text}
    </span>
  )
}

followTheme()
applyInstallation()
render(<App />, document.getElementById("app")!)
