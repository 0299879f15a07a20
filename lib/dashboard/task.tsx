/** One task: all that is known of it, why it does not run, and what can be done. */
import { type ComponentChild, Fragment } from "preact"
import { useState } from "preact/hooks"
import type { TaskView, WhyAnswer } from "../wire/inspecting.ts"
import { ask, askText, can, Problem } from "./api.ts"
import { indented, membersOf, visibleJson } from "./json.ts"
import { useData, useTick } from "./live.ts"
import { attempt, Badge, Confirm, Dialog, Field, Icon, QueueLink, Skeleton, Trouble, tell } from "./parts.tsx"
import { Block, clock, duration, Shown, shortOf, Time } from "./text.tsx"

interface Loaded {
  task: TaskView
  /** As the broker wrote them. */
  texts: Map<string, string>
  why: WhyAnswer | undefined
}
/** More than this is not put into a text field. */
const EDITABLE = 300_000

async function loaded(id: string, signal: AbortSignal): Promise<Loaded> {
  const name = encodeURIComponent(id)
  const [text, why] = await Promise.all([
    askText("GET", `/status/${name}`, { signal }),
    ask<WhyAnswer>("GET", `/why/${name}`, undefined, signal).catch(error => {
      if (!(error instanceof Problem) || error.status === 401) throw error
    }),
  ])
  return { task: JSON.parse(text), texts: membersOf(text), why: why as WhyAnswer | undefined }
}

export function Task({ id }: { id: string }) {
  const [running, setRunning] = useState(false)
  const { value, problem, refresh } = useData(
    id,
    async signal => {
      const found = await loaded(id, signal)
      setRunning(found.task.status === "processing")
      return found
    },
    { events: new URLSearchParams({ task: id }).toString(), calmMs: running ? 2_000 : 10_000 },
  )
  return (
    <>
      <div class="title">
        <h1 class="mono">
          <Shown text={id} most={200} />
        </h1>
        {value && <Badge of={value.task.status} />}
        <span class="grow" />
        {value && <Buttons {...value} refresh={refresh} />}
      </div>
      {problem && <Trouble problem={problem} />}
      {value === undefined ? problem === undefined && <Skeleton rows={8} /> : <Shape {...value} />}
    </>
  )
}

function Shape({ task, texts, why }: Loaded) {
  const json = (name: string, label: string) => {
    const text = texts.get(name)
    return text === undefined ? null : (
      <Block
        label={label}
        text={text.length > 200_000 ? text : indented(text)}
        short={shortOf(indented(text, 20_000))}
        name={`${task.id.replace(/[^\w.-]/g, "_")}-${name}.json`}
      />
    )
  }
  return (
    <>
      {why && (
        <section
          class={`note ${why.cause === "no_workers" || why.cause === "paused" ? "warn" : ""}`}
          aria-label="Why"
        >
          <Shown text={why.why} most={600} />
        </section>
      )}
      <div class="split">
        <div>
          {task.error !== undefined && (
            <Block
              label="Error"
              text={task.error}
              short={shortOf(task.error)}
              name={`${task.id}-error.txt`}
            />
          )}
          {json("progress", "Progress")}
          {json("payload", "Payload")}
          {json("result", "Result")}
          {json("checkpoint", "Checkpoint")}
          {task.log && task.log.length > 0 && (
            <Block
              label="Log"
              text={task.log.join("\n")}
              short={task.log.join("\n")}
              name={`${task.id}-log.txt`}
            />
          )}
        </div>
        <div>
          <Facts task={task} />
          <Attempts task={task} />
        </div>
      </div>
    </>
  )
}

function Facts({ task }: { task: TaskView }) {
  const facts: [string, ComponentChild][] = [
    ["Type", <Shown text={task.type} most={200} />],
    ["Queue", <QueueLink queue={task.queue} />],
    ["Priority", task.priority],
    ["Attempt", task.attempt],
    ["Failures", `${task.retries} of ${task.max_retries} retries`],
    ["Crashes", `${task.crashes} of ${task.max_crashes}`],
  ]
  const add = (name: string, value: ComponentChild | undefined) => {
    if (value !== undefined) facts.push([name, value])
  }
  const time = (at: number | undefined) => (at === undefined ? undefined : <Time at={at} />)
  add("Released", task.releases > 0 ? `${task.releases} times` : undefined)
  add("Reason", task.reason)
  add("Worker", task.worker)
  add("Created", time(task.created_at))
  add("Started", time(task.started_at))
  add("Finished", time(task.finished_at))
  add("Due", time(task.due_at))
  add("Lease ends", time(task.lease_expires_at))
  add("Expires", time(task.expires_at))
  add("Cancel asked", time(task.cancel_requested_at))
  add("Lease", duration(task.timeout_ms))
  add("At most", task.max_runtime_ms && duration(task.max_runtime_ms))
  add("Unique key", task.unique_key && <Shown text={task.unique_key} />)
  for (const [name, value] of Object.entries(task.meta ?? {}))
    add(`meta.${name}`, <Shown text={value} most={128} />)
  add("traceparent", task.traceparent && <span class="mono">{task.traceparent}</span>)
  add("tracestate", task.tracestate && <Shown text={task.tracestate} />)
  return (
    <dl class="panel facts">
      {facts.map(([name, value]) => (
        <Fragment key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </Fragment>
      ))}
    </dl>
  )
}

function Attempts({ task }: { task: TaskView }) {
  useTick()
  const attempts = [...(task.attempts ?? [])].reverse()
  if (attempts.length === 0) return null
  return (
    <section class="panel" aria-label="Attempts">
      <header>
        <h2>Attempts</h2>
      </header>
      <ol class="timeline">
        {attempts.map(({ attempt, worker, started_at, ended_at, outcome, error }) => (
          <li key={attempt} class={outcome}>
            <div>
              <strong>{attempt}</strong> {outcome}{" "}
              <span class="dim">{outcome === "processing" ? "for" : "after"}</span>{" "}
              {duration((ended_at ?? Date.now()) - started_at)}
              <span class="dim when">
                {clock(started_at)}, <Time at={started_at} />
              </span>
            </div>
            {worker && (
              <div class="dim mono">
                <Shown text={worker} most={64} />
              </div>
            )}
            {error && (
              <div class="error">
                <Shown text={error} most={500} />
              </div>
            )}
          </li>
        ))}
      </ol>
    </section>
  )
}

function Buttons({ task, texts, refresh }: Loaded & { refresh: () => void }) {
  const [dialog, setDialog] = useState<"cancel" | "edit" | "delete">()
  const close = () => setDialog(undefined)
  const name = encodeURIComponent(task.id)
  const ended = ["done", "dead", "cancelled"].includes(task.status)
  const mayCancel = !ended && (can("operate") || can("submit"))
  const maySteer = task.status === "dead" && can("operate")
  const [busy, setBusy] = useState(false)
  const retry = async () => {
    setBusy(true)
    await retryTask(name, refresh)
    setBusy(false)
  }
  return (
    <div class="buttons">
      {mayCancel && (
        <button
          type="button"
          disabled={task.cancel_requested_at !== undefined}
          onClick={() => setDialog("cancel")}
        >
          Cancel
        </button>
      )}
      {maySteer && (
        <>
          <button type="button" class="primary" disabled={busy} onClick={retry}>
            <Icon name="retry" /> Retry
          </button>
          <button type="button" onClick={() => setDialog("edit")}>
            Edit and retry
          </button>
          <button type="button" onClick={() => setDialog("delete")}>
            <Icon name="trash" /> Delete
          </button>
        </>
      )}
      {dialog === "cancel" && (
        <Confirm
          title="Cancel this task?"
          button="Cancel the task"
          danger
          onClose={close}
          run={async () => {
            const { status } = await ask<{ status: string }>("POST", `/cancel/${name}`)
            tell(status === "cancelled" ? "It is cancelled" : "Its worker will hear of it")
            refresh()
          }}
        >
          <p>
            {task.status === "processing"
              ? "It runs: its worker hears of it when it extends its lease, and the attempt ends as it ends."
              : "It will never be handed out."}
          </p>
        </Confirm>
      )}
      {dialog === "delete" && (
        <Confirm
          title="Delete this dead task?"
          button="Delete the task"
          danger
          onClose={close}
          run={async () => {
            await ask("DELETE", `/dlq/${name}`)
            tell("It is deleted")
            refresh()
          }}
        >
          <p>There is no way back.</p>
        </Confirm>
      )}
      {dialog === "edit" && (
        <EditDialog name={name} payload={texts.get("payload") ?? "{}"} onClose={close} onDone={refresh} />
      )}
    </div>
  )
}

async function retryTask(name: string, refresh: () => void): Promise<void> {
  await attempt(async () => {
    await ask("POST", `/dlq/retry/${name}`)
    tell("It waits for a worker again")
    refresh()
  })
}

function EditDialog(props: { name: string; payload: string; onClose: () => void; onDone: () => void }) {
  const tooLong = props.payload.length > EDITABLE
  const [text, setText] = useState(() => (tooLong ? "" : visibleJson(indented(props.payload))))
  const [wrong, setWrong] = useState<{ message: string; detail?: string | undefined }>()
  const [busy, setBusy] = useState(false)
  const retry = async () => {
    setWrong(undefined)
    try {
      JSON.parse(text)
    } catch (error) {
      return setWrong({ message: "This is not JSON", detail: (error as Error).message })
    }
    setBusy(true)
    try {
      // As it was typed, so that each digit stays.
      await askText("POST", `/dlq/retry/${props.name}`, { body: `{"payload":${text}}` })
      tell("It waits for a worker again, with the new payload")
      props.onDone()
      props.onClose()
    } catch (error) {
      const { message, detail } = error as Problem
      setWrong({ message, detail })
    }
    setBusy(false)
  }
  return (
    <Dialog
      title="Edit and retry"
      onClose={props.onClose}
      onSubmit={retry}
      actions={
        <>
          <button type="button" onClick={props.onClose}>
            Back
          </button>
          <button type="submit" class="primary" disabled={busy || text.trim() === ""}>
            Retry
          </button>
        </>
      }
    >
      <Field
        label="Payload"
        hint={
          tooLong
            ? "Its payload is too long to be edited here: write another, or retry it as it is."
            : "It takes the place of the payload that it had. All counters begin at 0 again."
        }
      >
        {(id, hint) => (
          <textarea
            id={id}
            aria-describedby={hint}
            rows={14}
            spellcheck={false}
            value={text}
            onInput={event => setText(event.currentTarget.value)}
          />
        )}
      </Field>
      {wrong && <Trouble problem={Object.assign(new Error(wrong.message), { detail: wrong.detail })} />}
    </Dialog>
  )
}
