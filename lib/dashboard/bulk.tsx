/** Dead tasks retried or deleted by the page full, for as long as there is a next page. */
import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import type { DlqPurged, RetriedMany } from "../wire/dead-letters.ts"
import type { TaskView } from "../wire/inspecting.ts"
import { ask, askText, type Problem } from "./api.ts"
import type { DeadFilter } from "./dead.tsx"
import { Dialog, Field, TaskLink, Trouble } from "./parts.tsx"
import { count, plural } from "./text.tsx"

/** How many are counted before one begins, a thousand a call; and how many one call moves. */
const COUNT_CALLS = 20
const A_CALL = 200
const WAIT_MS = 10_000

interface Props {
  filter: DeadFilter
  onClose: () => void
  onDone: () => void
}

/** How many match, by a dry run. undefined: it is being counted. */
function useCount(filter: DeadFilter, path: string): { total: number; atLeast: boolean } | undefined {
  const [found, setFound] = useState<{ total: number; atLeast: boolean }>()
  useEffect(() => {
    const over = new AbortController()
    const run = async () => {
      let total = 0
      let cursor: string | undefined
      for (let call = 0; call < COUNT_CALLS; call++) {
        const body = { ...filter, limit: 1_000, dry_run: true, ...(cursor ? { cursor } : {}) }
        const told = await ask<RetriedMany & DlqPurged>("POST", path, body, over.signal)
        total += told.requeued ?? told.purged
        cursor = told.next
        if (cursor === undefined) return setFound({ total, atLeast: false })
      }
      setFound({ total, atLeast: true })
    }
    run().catch(() => setFound(undefined))
    return () => over.abort()
  }, [])
  return found
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

type RunState = "ready" | "running" | "over"

/** A run over many pages that can be stopped. */
function useRun(onDone: () => void) {
  const [state, setState] = useState<RunState>("ready")
  const [problem, setProblem] = useState<Problem>()
  const over = useRef(new AbortController())
  useEffect(() => () => over.current.abort(), [])
  const start = async (run: (signal: AbortSignal) => Promise<void>) => {
    over.current = new AbortController()
    setProblem(undefined)
    setState("running")
    try {
      await run(over.current.signal)
    } catch (error) {
      if (!over.current.signal.aborted) setProblem(error as Problem)
    }
    setState("over")
    onDone()
  }
  return { state, problem, start, stop: () => over.current.abort() }
}

/** The buttons of a run; `children`: the one that starts it. */
function RunActions({
  state,
  onStop,
  onBack,
  children,
}: {
  state: RunState
  onStop: () => void
  onBack: () => void
  children: ComponentChildren
}) {
  if (state === "running")
    return (
      <button type="button" onClick={onStop}>
        Stop
      </button>
    )
  if (state === "over")
    return (
      <button type="submit" class="primary">
        Close
      </button>
    )
  return (
    <>
      <button type="button" onClick={onBack}>
        Back
      </button>
      {children}
    </>
  )
}

export function RetryDead({ filter, known, onClose, onDone }: Props & { known: number | undefined }) {
  const found = useCount(filter, "/dlq/retry")
  const [patch, setPatch] = useState("")
  const [canary, setCanary] = useState(false)
  const [limit, setLimit] = useState("")
  const [perSecond, setPerSecond] = useState("")
  const [wrong, setWrong] = useState<Error>()
  const [done, setDone] = useState({ requeued: 0, skipped: 0 })
  const [first, setFirst] = useState<{ id: string; state: string }>()
  const { state, problem, start, stop } = useRun(onDone)
  const total = Math.min(found?.total ?? known ?? 0, Number(limit) || Infinity)

  const run = async () => {
    if (patch.trim() !== "") {
      try {
        JSON.parse(patch)
      } catch (error) {
        return setWrong(
          Object.assign(new Error("The patch is not JSON"), { detail: (error as Error).message }),
        )
      }
    }
    setWrong(undefined)
    await start(async signal => {
      const most = Number(limit) || Infinity
      const pace = Number(perSecond) || Infinity
      let cursor: string | undefined
      let requeued = 0
      let skipped = 0
      let alone = canary
      while (requeued + skipped < most) {
        const begun = performance.now()
        const some = alone ? 1 : Math.min(A_CALL, pace, most - requeued - skipped)
        const body = JSON.stringify({
          ...{ ...filter, limit: some },
          ...(cursor ? { cursor } : {}),
          ...(alone ? { canary: true } : {}),
        })
        // The patch as it was typed, so that each digit stays.
        const text = patch.trim() === "" ? body : `${body.slice(0, -1)},"patch":${patch}}`
        const told = await retryPage(text, signal)
        requeued += told.requeued
        skipped += told.skipped
        setDone({ requeued, skipped })
        cursor = told.next
        if (alone && told.canary) {
          if (!(await succeeds(told.canary.task_id, signal))) return
          alone = false
        }
        if (cursor === undefined) return
        if (pace < Infinity) await pause(Math.max(0, (some / pace) * 1_000 - (performance.now() - begun)))
        signal.throwIfAborted()
      }
    })
  }
  /** Waits until the one that went first has ended. */
  const succeeds = async (id: string, signal: AbortSignal): Promise<boolean> => {
    setFirst({ id, state: "waits for a worker" })
    for (;;) {
      const path = `/status/${encodeURIComponent(id)}?wait_ms=${WAIT_MS}`
      const { status } = await ask<TaskView>("GET", path, undefined, signal)
      setFirst({ id, state: status })
      if (status === "done") return true
      if (status === "dead" || status === "cancelled") return false
    }
  }

  return (
    <Dialog
      title={filter.fingerprint ? "Retry the dead tasks of this group" : "Retry dead tasks"}
      onClose={onClose}
      onSubmit={state === "ready" ? run : onClose}
      actions={
        <RunActions state={state} onStop={stop} onBack={onClose}>
          <button type="submit" class="primary">
            {total > 0 ? `Retry ${count(total)}` : "Retry"}
          </button>
        </RunActions>
      }
    >
      {state === "ready" ? (
        <>
          <p class="line">
            <Found found={found} /> They get a new life, all counters at 0, and keep their history.
          </p>
          <Field
            label="Patch"
            hint={'A JSON merge patch on each payload, as {"server": "b"}; empty: they stay as they are.'}
          >
            {(id, hint) => (
              <textarea
                id={id}
                aria-describedby={hint}
                rows={4}
                spellcheck={false}
                value={patch}
                onInput={event => setPatch(event.currentTarget.value)}
              />
            )}
          </Field>
          <div class="row">
            <Amount label="At most" value={limit} onInput={setLimit} placeholder="all" />
            <Amount
              label="A second"
              value={perSecond}
              onInput={setPerSecond}
              placeholder="as fast as it goes"
            />
          </div>
          <label class="check">
            <input
              type="checkbox"
              checked={canary}
              onChange={event => setCanary(event.currentTarget.checked)}
            />
            <span>Canary: one goes first, and the others only once it is done</span>
          </label>
          {wrong && <Trouble problem={wrong} />}
        </>
      ) : (
        <>
          <progress aria-label="Retried" max={Math.max(1, total)} value={done.requeued + done.skipped} />
          <p role="status" class="line">
            {count(done.requeued)} of {count(Math.max(total, done.requeued))} retried
            {done.skipped > 0 &&
              `; ${count(done.skipped)} were left: another task has their unique key, or they were dead no more`}
          </p>
          {first && (
            <p class="line">
              Canary <TaskLink id={first.id} /> {first.state}
              {state === "over" && first.state !== "done" && ": the others were left as they are"}
            </p>
          )}
          {problem && <Trouble problem={problem} />}
        </>
      )}
    </Dialog>
  )
}

async function retryPage(body: string, signal: AbortSignal): Promise<RetriedMany> {
  return JSON.parse(await askText("POST", "/dlq/retry", { body, signal }))
}

export function PurgeDead({ filter, onClose, onDone }: Props) {
  const found = useCount(filter, "/dlq/purge")
  const [purged, setPurged] = useState(0)
  const { state, problem, start, stop } = useRun(onDone)
  const run = () =>
    start(async signal => {
      let cursor: string | undefined
      let sum = 0
      do {
        const body = { ...filter, limit: A_CALL, ...(cursor ? { cursor } : {}) }
        const told = await ask<DlqPurged>("POST", "/dlq/purge", body, signal)
        sum += told.purged
        setPurged(sum)
        cursor = told.next
      } while (cursor !== undefined)
    })
  return (
    <Dialog
      title={filter.fingerprint ? "Delete the dead tasks of this group" : "Delete dead tasks"}
      onClose={onClose}
      onSubmit={state === "ready" ? run : onClose}
      actions={
        <RunActions state={state} onStop={stop} onBack={onClose}>
          <button type="submit" class="danger" disabled={found === undefined || found.total === 0}>
            {found ? `Delete ${count(found.total)}` : "Delete"}
          </button>
        </RunActions>
      }
    >
      {state === "ready" ? (
        <p class="line">
          <Found found={found} /> There is no way back.
        </p>
      ) : (
        <>
          <progress aria-label="Deleted" max={Math.max(1, found?.total ?? 1)} value={purged} />
          <p role="status" class="line">
            {plural(purged, "task")} deleted
          </p>
          {problem && <Trouble problem={problem} />}
        </>
      )}
    </Dialog>
  )
}

const Found = ({ found }: { found: { total: number; atLeast: boolean } | undefined }) => (
  <span role="status">
    {found === undefined
      ? "Counting…"
      : `A dry run found ${found.atLeast ? "at least " : ""}${plural(found.total, "task")}.`}
  </span>
)

const Amount = (props: {
  label: string
  value: string
  placeholder: string
  onInput: (text: string) => void
}) => (
  <Field label={props.label}>
    {id => (
      <input
        id={id}
        type="number"
        min={1}
        step={1}
        placeholder={props.placeholder}
        value={props.value}
        onInput={event => props.onInput(event.currentTarget.value)}
      />
    )}
  </Field>
)
