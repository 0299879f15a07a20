/** One worker: its runs, its queues, its running tasks, and its recent attempts as events tell them. */
import { useMemo, useRef, useState } from "preact/hooks"
import type { EventData, EventName } from "../wire/events.ts"
import type { WorkersAnswer } from "../wire/managing.ts"
import { queryOf, requestJson } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { useClock, useData, useStream } from "./live.ts"
import { Badge, Empty, ProblemNote, QueueLink, Skeleton, TaskLink } from "./parts.tsx"
import { Table } from "./table.tsx"
import { firstLineOf } from "./task-words.ts"
import { formatCount, formatDuration, SafeText, Time } from "./text.tsx"
import { DrainDialog, sortWorkers, WorkerTable } from "./worker-table.tsx"
import { WorkerTimeline } from "./worker-timeline.tsx"

const PAST_MS = 600_000
const MAX_ATTEMPTS = 500
const MAX_SHOWN = 50
const ENDS: readonly EventName[] = ["done", "failed", "released", "lapsed", "cancelled"]

export function WorkerPage({ name }: { name: string }) {
  const [draining, setDraining] = useState(false)
  const path = `/workers${queryOf({ worker: name, limit: 100 })}`
  const { value, problem, stale, refresh } = useData(
    path,
    signal => requestJson<WorkersAnswer>("GET", path, undefined, signal),
    { pollMs: 3_000 },
  )
  const workers = value && sortWorkers(value.workers, "seen")
  const newest = workers?.[0]
  const queues = [...new Set(workers?.flatMap(worker => worker.queues))].sort()
  return (
    <>
      <nav class="crumbs" aria-label="Breadcrumb">
        <a href="#/workers">Workers</a> /
      </nav>
      <div class="title">
        <h1 class="mono">
          <SafeText text={name} most={64} />
        </h1>
        {newest && <Badge of={newest.state} />}
      </div>
      {problem && <ProblemNote problem={problem} />}
      {workers === undefined ? (
        problem === undefined && <Skeleton rows={3} />
      ) : newest === undefined ? (
        <Empty title="No worker of this name was seen in the last 24 hours">
          <a href="#/workers">All workers</a>
        </Empty>
      ) : (
        <>
          <WorkerTable workers={workers} stale={stale} drain={() => setDraining(true)} refresh={refresh} />
          <section class="panel" aria-label="Queues and running tasks">
            <dl class="facts">
              <dt>Queues</dt>
              <dd class="list">
                {queues.length === 0 ? "none" : queues.map(queue => <QueueLink key={queue} queue={queue} />)}
              </dd>
              <dt>Running</dt>
              <dd class="list">
                {newest.tasks.length === 0
                  ? "nothing"
                  : newest.tasks.map(id => <TaskLink key={id} id={id} />)}
                {newest.in_hand > newest.tasks.length && (
                  <span class="dim">and {formatCount(newest.in_hand - newest.tasks.length)} more</span>
                )}
              </dd>
            </dl>
          </section>
          {queues.length > 0 && <RecentAttempts worker={name} queues={queues.slice(0, 100).join()} />}
        </>
      )}
      {draining && <DrainDialog worker={name} onClose={() => setDraining(false)} onDone={refresh} />}
    </>
  )
}

interface Attempt {
  key: string
  task: string
  type: string | undefined
  startedAt: number
  end?: { name: EventName; at: number; error: string | undefined }
}

/** The event of an end does not name the worker: it belongs to the lease of the same task and attempt. */
function noteEvent(attempts: Map<string, Attempt>, worker: string, name: EventName, data: EventData): void {
  const { task_id: task, attempt, at, type, error, reason } = data
  if (task === undefined) return
  const key = `${task} ${attempt}`
  if (name === "leased" && data.worker === worker) {
    attempts.set(key, { key, task, type, startedAt: at })
    if (attempts.size > MAX_ATTEMPTS) attempts.delete(attempts.keys().next().value!)
    return
  }
  const found = attempts.get(key)
  if (found !== undefined && ENDS.includes(name)) found.end = { name, at, error: error ?? reason }
}

function RecentAttempts({ worker, queues }: { worker: string; queues: string }) {
  const attempts = useRef(new Map<string, Attempt>())
  useClock(1_000, attempts.current.size === 0) // many events may arrive per second
  const query = useMemo(() => {
    attempts.current = new Map()
    const event = ["leased", ...ENDS].join()
    return queryOf({ queue: queues, event, last_event_id: `${brokerNow() - PAST_MS}-0` }).slice(1)
  }, [queues])
  useStream(query, (name, data) => noteEvent(attempts.current, worker, name, data))
  const newest = [...attempts.current.values()].slice(-MAX_SHOWN).reverse()
  return (
    <>
      <h2>Recent attempts</h2>
      {newest.length === 0 ? (
        <p class="dim">This worker has leased no task since ten minutes before this page was opened.</p>
      ) : (
        <>
          <WorkerTimeline bars={[...attempts.current.values()].map(barOf)} />
          <Table
            label="Recent attempts"
            rows={newest}
            keyOf={({ key }) => key}
            columns={[
              { head: "Task", cell: ({ task }) => <TaskLink id={task} /> },
              { head: "Type", cell: ({ type = "" }) => <SafeText text={type} most={60} /> },
              { head: "Outcome", cell: ({ end }) => <Badge of={end?.name ?? "processing"} /> },
              { head: "Started", cell: ({ startedAt }) => <Time at={startedAt} /> },
              {
                head: "Ran for",
                num: true,
                cell: ({ end, startedAt }) => formatDuration((end?.at ?? brokerNow()) - startedAt),
              },
              {
                head: "Error",
                grow: true,
                cell: ({ end }) => (
                  <span class="error">
                    <SafeText text={firstLineOf(end?.error ?? "")} most={200} />
                  </span>
                ),
              },
            ]}
          />
        </>
      )}
    </>
  )
}

function barOf({ key, task, type = "", startedAt, end }: Attempt) {
  const outcome = end?.name ?? "processing"
  return {
    key,
    label: `${task} ${type} ${outcome}, ${formatDuration((end?.at ?? brokerNow()) - startedAt)}`,
    from: startedAt,
    to: end?.at,
    outcome,
  }
}
