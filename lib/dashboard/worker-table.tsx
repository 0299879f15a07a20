/** The table of workers, its orders, and how a worker is drained. */
import { Fragment } from "preact"
import type { WorkerView } from "../wire/managing.ts"
import { can, requestJson } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { ActionDialog } from "./dialog.tsx"
import { Icon } from "./icon.tsx"
import { Badge, QueueLink } from "./parts.tsx"
import { Table } from "./table.tsx"
import { escapeInvisible, formatCount, formatDuration, SafeText, Time } from "./text.tsx"
import { attempt, notify } from "./toasts.tsx"

/** What sorts first in each order; workers that are equal in it are sorted by name. */
const ORDERS = {
  name: () => 0,
  state: ({ state }: WorkerView) => ["stale", "draining", "live", "gone"].indexOf(state),
  running: ({ in_hand }: WorkerView) => -in_hand,
  rate: ({ per_minute }: WorkerView) => -(per_minute ?? 0),
  done: ({ done }: WorkerView) => -done,
  failed: ({ failed }: WorkerView) => -failed,
  up: ({ first_seen_at, last_seen_at }: WorkerView) => first_seen_at - last_seen_at,
  seen: ({ last_seen_at }: WorkerView) => -last_seen_at,
}
export type Order = keyof typeof ORDERS

export const isOrder = (text: string | null): text is Order => text !== null && Object.hasOwn(ORDERS, text)

export const sortWorkers = (workers: readonly WorkerView[], order: Order): WorkerView[] =>
  workers.toSorted((a, b) => ORDERS[order](a) - ORDERS[order](b) || (a.worker < b.worker ? -1 : 1))

/**
 * How many of the tasks that a worker can run it runs, from 0 to 1. Running tasks are counted per name, so workers of one
 * name share them. Undefined if one of them does not say how many it can run.
 */
function utilisationOf(worker: WorkerView, all: readonly WorkerView[]): number | undefined {
  const same = all.filter(other => other.worker === worker.worker && other.state !== "gone")
  const slots = same.reduce((sum, { concurrency = Number.NaN }) => sum + concurrency, 0)
  return slots > 0 ? Math.min(1, worker.in_hand / slots) : undefined
}

export const workerHash = (worker: string) => `#/workers/${encodeURIComponent(worker)}`

/** How long this run of the worker has been seen; until now if it still is. */
const upMs = ({ first_seen_at, last_seen_at, state }: WorkerView) =>
  (state === "live" || state === "draining" ? Math.max(last_seen_at, brokerNow()) : last_seen_at) -
  first_seen_at

export function WorkerTable(props: {
  workers: readonly WorkerView[]
  stale: boolean
  drain: (worker: WorkerView) => void
  refresh: () => void
  sorted?: { by: string; set: (order: string) => void } | undefined
}) {
  const { workers, sorted } = props
  return (
    <Table
      label="Workers"
      rows={workers}
      keyOf={({ worker, instance, first_seen_at }) => `${worker} ${instance} ${first_seen_at}`}
      stale={props.stale}
      {...(sorted && { sorted })}
      columns={[
        {
          head: "Worker",
          order: "name",
          cell: ({ worker, instance, host, version }) => (
            <>
              <a class="mono name" href={workerHash(worker)} title={escapeInvisible(worker)}>
                <SafeText text={worker} most={64} />
              </a>
              <div class="dim">
                <SafeText text={[instance, host, version].filter(Boolean).join(", ")} most={100} />
              </div>
            </>
          ),
        },
        { head: "State", order: "state", cell: ({ state }) => <Badge of={state} /> },
        {
          head: "Queues",
          grow: true,
          cell: ({ queues }) => (
            <>
              {queues.slice(0, 5).map(queue => (
                <Fragment key={queue}>
                  <QueueLink queue={queue} />{" "}
                </Fragment>
              ))}
              {queues.length > 5 && <span class="dim">+{queues.length - 5}</span>}
            </>
          ),
        },
        {
          head: "Running",
          num: true,
          order: "running",
          cell: worker => <Load worker={worker} all={workers} />,
        },
        {
          head: "Per minute",
          num: true,
          order: "rate",
          cell: ({ per_minute = 0 }) => formatCount(per_minute),
        },
        { head: "Done", num: true, order: "done", cell: ({ done }) => formatCount(done) },
        {
          head: "Failed",
          num: true,
          order: "failed",
          cell: ({ failed }) => <span class={failed > 0 ? "error" : "dim"}>{formatCount(failed)}</span>,
        },
        {
          head: "Up for",
          num: true,
          wide: true,
          order: "up",
          cell: worker => formatDuration(upMs(worker)),
        },
        {
          head: "Last seen",
          num: true,
          order: "seen",
          cell: ({ last_seen_at }) => <Time at={last_seen_at} />,
        },
        can("operate") && {
          head: "",
          num: true,
          cell: worker => <DrainButton worker={worker} drain={props.drain} refresh={props.refresh} />,
        },
      ]}
    />
  )
}

/** `3 of 10` with a meter, or only the number of running tasks if the worker does not say how many it can run. */
function Load({ worker, all }: { worker: WorkerView; all: readonly WorkerView[] }) {
  const { in_hand, concurrency } = worker
  const used = utilisationOf(worker, all)
  return (
    <>
      {used !== undefined && (
        <meter
          min={0}
          max={1}
          value={used}
          aria-label={`${Math.round(used * 100)} % of ${worker.worker} used`}
        />
      )}{" "}
      {formatCount(in_hand)}{" "}
      <span class="dim">of {concurrency === undefined ? "–" : formatCount(concurrency)}</span>
    </>
  )
}

function DrainButton(props: {
  worker: WorkerView
  drain: (worker: WorkerView) => void
  refresh: () => void
}) {
  const { worker } = props
  if (worker.state === "live")
    return (
      <button
        type="button"
        class="quiet"
        aria-label={`Drain ${worker.worker}`}
        onClick={() => props.drain(worker)}
      >
        <Icon name="pause" /> Drain
      </button>
    )
  if (worker.state !== "draining") return null
  return (
    <button
      type="button"
      class="quiet"
      aria-label={`Cancel drain: ${worker.worker}`}
      onClick={() => undrain(worker.worker, props.refresh)}
    >
      <Icon name="play" /> Cancel drain
    </button>
  )
}

export const DrainDialog = (props: { worker: string; onClose: () => void; onDone: () => void }) => (
  <ActionDialog
    title={`Drain ${props.worker}?`}
    button="Drain"
    onClose={props.onClose}
    run={async () => {
      await requestJson("POST", `/workers/${encodeURIComponent(props.worker)}/drain`)
      notify(`${props.worker} is draining`)
      props.onDone()
    }}
  >
    <p>Each worker of this name leases no more tasks, finishes the tasks it has leased, and stops.</p>
  </ActionDialog>
)

const undrain = (worker: string, refresh: () => void) =>
  attempt(async () => {
    await requestJson("DELETE", `/workers/${encodeURIComponent(worker)}/drain`)
    notify(`${worker} is no longer draining`)
    refresh()
  })
