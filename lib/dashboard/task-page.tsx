/** The view of one task: its state, why it waits, its payload and results, and its attempts. */
import type { ComponentChild } from "preact"
import { useState } from "preact/hooks"
import type { TaskView } from "../wire/inspecting.ts"
import type { Reason } from "../wire/states.ts"
import { can, queryOf, session } from "./api.ts"
import { Attempts, LogBlock } from "./attempts.tsx"
import { indentJson } from "./json.ts"
import { useData } from "./live.ts"
import { type LoadedTask, loadTask } from "./loaded-task.ts"
import { Badge, FactList, ProblemNote, QueueLink, Skeleton, TaskLink } from "./parts.tsx"
import { TaskButtons } from "./task-actions.tsx"
import { failuresText, firstLineOf, hasCurrentError, progressOf } from "./task-words.ts"
import { formatDuration, SafeText, scrollable, Time } from "./text.tsx"
import { CopyButton, shorten, TextBlock } from "./text-block.tsx"
import { Timeline } from "./timeline.tsx"

export function Task({ id }: { id: string }) {
  const [running, setRunning] = useState(false)
  const { value, problem, refresh } = useData(
    id,
    async signal => {
      const found = await loadTask(id, signal)
      setRunning(found.task.status === "processing")
      return found
    },
    { events: new URLSearchParams({ task: id }).toString(), pollMs: running ? 2_000 : 10_000 },
  )
  return (
    <>
      {value && (
        <nav class="crumbs" aria-label="Breadcrumb">
          <a href="#/queues">Queues</a> / <QueueLink queue={value.task.queue} /> /{" "}
          <a href={listOf(value.task)}>{value.task.status} tasks</a>
        </nav>
      )}
      <div class="title">
        <h1 class="mono">
          <SafeText text={id} most={200} />
        </h1>
        {value && <Badge of={value.task.status} />}
        <span class="grow" />
        {value && <TaskButtons {...value} refresh={refresh} />}
      </div>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? problem === undefined && <Skeleton rows={8} /> : <TaskDetails {...value} />}
    </>
  )
}

const DEAD_TEXTS: Record<Reason, string> = {
  failed: "its last attempt failed",
  crashed: "its worker was lost too often",
  timed_out: "it ran longer than allowed",
  expired: "it did not start in time",
  released: "workers returned it too often",
}

function TaskDetails({ task, texts, why }: LoadedTask) {
  const json = (name: string, label: string) => {
    const text = texts.get(name)
    return text === undefined ? null : (
      <TextBlock
        label={label}
        text={text.length > 200_000 ? text : indentJson(text)}
        short={shorten(indentJson(text, 20_000))}
        name={`${task.id.replace(/[^\w.-]/g, "_")}-${name}.json`}
      />
    )
  }
  return (
    <>
      {task.status === "dead" && (
        <section class="trouble" aria-label="Why">
          Dead: {DEAD_TEXTS[task.reason ?? "failed"]}.
          {can("operate") && " Retry it when the cause is removed, or edit its payload first."}
        </section>
      )}
      {task.hidden && (
        <section class="note" aria-label="Hidden">
          Your token may not see the contents of this task: payload, result, errors, progress, checkpoint and
          log.
        </section>
      )}
      {why && why.cause !== "ended" && (
        <section
          class={`note ${why.cause === "no_workers" || why.cause === "paused" ? "warn" : ""}`}
          aria-label="Why"
        >
          <SafeText text={why.why} most={600} />
        </section>
      )}
      <div class="split">
        <div>
          {hasCurrentError(task) && <ErrorBlock error={task.error!} />}
          {json("result", "Result")}
          {task.finished_at === undefined && <ProgressBar progress={task.progress} />}
          {json("progress", "Progress")}
          {!task.hidden && json("payload", "Payload")}
          {json("checkpoint", "Checkpoint")}
          <LogBlock task={task} />
        </div>
        <div>
          <Facts task={task} />
          <Timeline task={task} why={why} />
        </div>
      </div>
      <Attempts task={task} />
    </>
  )
}

/** The first line of an error; the rest, which are causes and a stack, is folded away. */
function ErrorBlock({ error }: { error: string }) {
  const first = firstLineOf(error)
  const rest = error.trim().slice(first.length).trim()
  return (
    <section class="panel block" aria-label="Error of the task">
      <header>
        <h2>Error</h2>
        <span class="grow" />
        <CopyButton text={error} />
      </header>
      <pre class="error" {...scrollable("Error")}>
        <SafeText text={first} />
      </pre>
      {rest !== "" && (
        <details class="folded">
          <summary>Causes and stack</summary>
          <pre {...scrollable("Causes and stack")}>
            <SafeText text={rest} most={20_000} />
          </pre>
        </details>
      )}
    </section>
  )
}

/** Where tasks like this one are listed. */
const listOf = ({ queue, status, type }: TaskView): string =>
  status === "dead"
    ? `#/dead${queryOf({ queue, type })}`
    : `#/queues/${encodeURIComponent(queue)}?state=${status}`

function ProgressBar({ progress }: { progress: unknown }) {
  const part = progressOf(progress)
  return part === undefined ? null : (
    <div class="panel progress">
      <progress aria-label="Progress" max={1} value={part} /> {Math.round(part * 100)} %
    </div>
  )
}

/** A link to the trace of the task, if the broker has a TRACE_URL. */
function traceLinkOf(traceparent = ""): ComponentChild | undefined {
  const trace = traceparent.split("-")[1]
  const template = session.value?.trace_url
  return (
    trace &&
    template && (
      <a href={template.replaceAll("{trace_id}", trace)} target="_blank" rel="noopener noreferrer">
        Open trace
      </a>
    )
  )
}

function Facts({ task }: { task: TaskView }) {
  const facts: [string, ComponentChild][] = [
    ["Type", <SafeText text={task.type} most={200} />],
    ["Queue", <QueueLink queue={task.queue} />],
    ["Priority", task.priority],
    ["Attempt", task.attempt],
    ["Failures", failuresText(task)],
    ["Crashes", `${task.crashes} (${task.max_crashes} allowed)`],
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
  add("Lease lapses", time(task.lease_expires_at))
  add("Expires", time(task.expires_at))
  add("Cancel requested", time(task.cancel_requested_at))
  add("Lease duration", formatDuration(task.timeout_ms))
  add("Maximum run time", task.max_runtime_ms && formatDuration(task.max_runtime_ms))
  add(
    "Schedule",
    task.schedule && <a href={`#/schedules/${encodeURIComponent(task.schedule)}`}>{task.schedule}</a>,
  )
  add("Planned", time(task.planned_at))
  add("Group", task.group && <SafeText text={task.group} />)
  add("Unique key", task.unique_key && <SafeText text={task.unique_key} />)
  for (const [name, value] of Object.entries(task.meta ?? {}))
    add(`meta.${name}`, <SafeText text={value} most={128} />)
  add("Redacted", task.redact && "only workers and operators see its contents")
  add("Copy of", task.again_of && <TaskLink id={task.again_of} />)
  add("Trace", traceLinkOf(task.traceparent))
  add("traceparent", task.traceparent && <span class="mono">{task.traceparent}</span>)
  add("tracestate", task.tracestate && <SafeText text={task.tracestate} />)
  return <FactList facts={facts} />
}
