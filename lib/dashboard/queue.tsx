/** The view of one queue: its state, limits, workers and tasks. */
import { useState } from "preact/hooks"
import type { GroupsAnswer } from "../wire/grouping.ts"
import type { QueueView } from "../wire/managing.ts"
import type { SchedulesAnswer } from "../wire/scheduling.ts"
import { can, queryOf, requestJson } from "./api.ts"
import { AttentionList } from "./attention.tsx"
import { Charts } from "./charts.tsx"
import { PauseDialog, PauseNote, PurgeDialog, resume, SettingsDialog } from "./control.tsx"
import { recent } from "./feed.ts"
import { FilterBar } from "./fields.tsx"
import { Groups, limitsText } from "./groups.tsx"
import { Icon } from "./icon.tsx"
import { feedListeners, stream, useClock, useData } from "./live.ts"
import { Badge, Empty, ProblemNote, Skeleton } from "./parts.tsx"
import { Total } from "./queues.tsx"
import { type Route, refine } from "./route.ts"
import { SubmitButton } from "./submit-task.tsx"
import { TASK_FILTERS, TaskFilters, TaskList } from "./tasks.tsx"
import {
  formatCount,
  formatDuration,
  formatRate,
  formatShort,
  plural,
  rateText,
  SafeText,
  Time,
} from "./text.tsx"
import { Types } from "./types.tsx"

/** Brokers of older versions do not send these members. */
type ExtendedQueueView = QueueView & {
  workers?: { count: number; names: string[] }
  rates?: Record<string, number>
}

export function Queue({ name, route }: { name: string; route: Route }) {
  /** The first tab that has tasks when the view opens: the queued tasks of a healthy queue are usually none. */
  const [first, setFirst] = useState<string>()
  const load = async (signal: AbortSignal) => {
    const view = await requestJson<ExtendedQueueView>(
      "GET",
      `/queues/${encodeURIComponent(name)}`,
      undefined,
      signal,
    )
    const isKnown = !isBlank(view) || (await hasSchedulesOrGroups(name, signal))
    setFirst(before => before ?? TABS.find(of => view.depth[of] > 0))
    recent.addQueues([view], { all: false, streaming: stream.value === "open" })
    return { ...view, isKnown }
  }
  const { value, problem, refresh } = useData(name, load, {
    events: feedListeners,
    pollMs: 4_000,
  })
  const [dialog, setDialog] = useState<"pause" | "settings" | "purge">()
  const close = () => setDialog(undefined)
  const state = route.query.get("state") ?? first ?? "queued"
  return (
    <>
      <nav class="crumbs" aria-label="Breadcrumb">
        <a href="#/queues">Queues</a> /
      </nav>
      <div class="title">
        <h1>
          <SafeText text={name} most={200} />
        </h1>
        {value?.paused && <Badge of="paused" />}
        <span class="grow" />
        <a class="dim" href={`#/schedules?queue=${encodeURIComponent(name)}`}>
          Schedules
        </a>
        <a class="dim" href={`#/actions?queue=${encodeURIComponent(name)}`}>
          Actions
        </a>
        <SubmitButton queue={name} />
        {value?.isKnown && can("operate") && (
          <div class="buttons">
            {value.paused ? (
              <button type="button" class="primary" onClick={() => resume(name, refresh)}>
                <Icon name="play" /> Resume
              </button>
            ) : (
              <button type="button" onClick={() => setDialog("pause")}>
                <Icon name="pause" /> Pause
              </button>
            )}
            <button type="button" onClick={() => setDialog("settings")}>
              <Icon name="gear" /> Limits
            </button>
            <button type="button" onClick={() => setDialog("purge")}>
              <Icon name="trash" /> Purge
            </button>
          </div>
        )}
      </div>
      {problem && <ProblemNote problem={problem} />}
      {value === undefined ? (
        problem === undefined && <Skeleton rows={8} />
      ) : !value.isKnown ? (
        <Empty title="Nothing is known about this queue">
          <p>
            It has no tasks, settings or schedules, and no worker has polled it. Check the name: a queue is
            created by its first task.
          </p>
          <a href="#/queues">All queues</a>
        </Empty>
      ) : (
        <>
          {value.paused && (
            <p class="note warn">
              Paused {value.paused_at !== undefined && <Time at={value.paused_at} />}
              {value.pause_reason && ": "}
              <PauseNote view={value} />
            </p>
          )}
          <AttentionList queue={name} attention={value.attention} />
          <Facts view={value} />
          <Charts queue={name} query={route.query} />
          <Groups queue={name} query={route.query} />
          <nav class="tabs" aria-label="Tasks by state, and types">
            {(["all", ...TABS, "types"] as const).map(of => (
              <a
                key={of}
                href={`#/queues/${encodeURIComponent(name)}?state=${of}`}
                aria-current={of === state ? "page" : undefined}
                onClick={event => {
                  event.preventDefault()
                  refine({ state: of })
                }}
              >
                {of}{" "}
                {of !== "all" && of !== "types" && <span class="dim">{formatShort(value.depth[of])}</span>}
              </a>
            ))}
          </nav>
          {state === "types" ? (
            <Types queue={name} query={route.query} />
          ) : (
            <>
              <FilterBar query={route.query} names={TASK_FILTERS}>
                <TaskFilters query={route.query} queue={name} />
              </FilterBar>
              <TaskList state={state} queue={name} query={route.query} />
            </>
          )}
        </>
      )}
      {dialog && value && (
        <>
          {dialog === "pause" && <PauseDialog view={value} onClose={close} onDone={refresh} />}
          {dialog === "settings" && <SettingsDialog view={value} onClose={close} onDone={refresh} />}
          {dialog === "purge" && <PurgeDialog view={value} onClose={close} onDone={refresh} />}
        </>
      )}
    </>
  )
}

const TABS = ["queued", "processing", "delayed", "dead", "done", "cancelled"] as const

/** The broker answers a name that it does not know with zeros, as it does for a queue that was emptied. */
const isBlank = ({ depth, paused, settings, polled_at }: QueueView): boolean =>
  !paused &&
  polled_at === undefined &&
  Object.keys(settings).length === 0 &&
  Object.values(depth).every(count => count === 0)

/** What its view does not show. */
async function hasSchedulesOrGroups(queue: string, signal: AbortSignal): Promise<boolean> {
  const ask = <T,>(path: string) => requestJson<T>("GET", path, undefined, signal)
  const [{ schedules }, { groups }] = await Promise.all([
    ask<SchedulesAnswer>(`/schedules${queryOf({ queue, limit: 1 })}`),
    ask<GroupsAnswer>(`/queues/${encodeURIComponent(queue)}/groups?limit=1`),
  ])
  return schedules.length + groups.length > 0
}

/** Of more than 1,000 delayed tasks the broker does not say which are which. */
const delayedText = ({ delayed }: QueueView): string | undefined =>
  delayed && `${formatCount(delayed.scheduled)} scheduled, ${formatCount(delayed.retrying)} retrying`

function Facts({ view }: { view: ExtendedQueueView }) {
  useClock()
  const { depth, settings, rates, workers, polled_at } = view
  const priorities = Object.entries(view.queued_by_priority).sort(([a], [b]) => Number(b) - Number(a))
  const most = Math.max(1, ...priorities.map(([, n]) => n))
  return (
    <>
      <dl class="totals">
        {TABS.map(of => (
          <Total
            key={of}
            name={of[0]!.toUpperCase() + of.slice(1)}
            value={formatShort(depth[of])}
            tone={of === "dead" && depth.dead > 0 ? "bad" : ""}
            parts={of === "delayed" && depth.delayed > 0 ? delayedText(view) : undefined}
          />
        ))}
      </dl>
      <dl class="panel facts double">
        <dt>Oldest wait</dt>
        <dd>{view.oldest_waiting_ms === undefined ? "none" : formatDuration(view.oldest_waiting_ms)}</dd>
        <dt>Last polled</dt>
        <dd>{polled_at === undefined ? "never" : <Time at={polled_at} />}</dd>
        {workers && (
          <>
            <dt>Workers</dt>
            <dd>
              <a href={`#/workers?queue=${encodeURIComponent(view.queue)}`}>
                {plural(workers.count, "worker")}
              </a>{" "}
              <span class="dim">in the last minute</span>
            </dd>
          </>
        )}
        {rates && (
          <>
            <dt>Rates (per second, last minute)</dt>
            <dd>
              {formatRate(rates.submitted ?? 0)} submitted, {formatRate(rates.done ?? 0)} done,{" "}
              {formatRate(rates.failed ?? 0)} failed
            </dd>
          </>
        )}
        <dt>Limits</dt>
        <dd>
          {settings.concurrency === undefined && !settings.rate && !settings.groups && "none"}
          {settings.concurrency !== undefined && `${settings.concurrency} running`}
          {settings.concurrency !== undefined && settings.rate && ", "}
          {settings.rate && rateText(settings.rate)}
          {settings.groups && <div>each group: {limitsText(settings.groups) || "none"}</div>}
        </dd>
        {settings.defaults && (
          <>
            <dt>Defaults of tasks</dt>
            <dd class="mono">
              {Object.entries(settings.defaults)
                .map(([name, of]) => `${name} ${typeof of === "object" ? JSON.stringify(of) : of}`)
                .join(", ")}
            </dd>
          </>
        )}
        {priorities.length > 0 && (
          <>
            <dt>Queued by priority</dt>
            <dd class="bars">
              {priorities.map(([priority, n]) => (
                <span key={priority}>
                  {priority} <meter min={0} max={most} value={n} aria-label={`Priority ${priority}`} />{" "}
                  {formatShort(n)}
                </span>
              ))}
            </dd>
          </>
        )}
      </dl>
    </>
  )
}
