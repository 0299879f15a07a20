/** The groups of a queue: what waits, runs and is held, and the dialogs that pause a group and set its limits. */
import { useState } from "preact/hooks"
import type { GroupsAnswer, GroupView } from "../wire/grouping.ts"
import type { GroupLimits } from "../wire/queue-settings.ts"
import { can, queryOf, requestJson } from "./api.ts"
import { LimitField } from "./control.tsx"
import { ActionDialog } from "./dialog.tsx"
import { Select } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { useData } from "./live.ts"
import { Badge, ProblemNote, TaskLink } from "./parts.tsx"
import { PauseForm } from "./pause-dialog.tsx"
import { pagesOf } from "./route.ts"
import { Pager, Table } from "./table.tsx"
import { escapeInvisible, formatCount, formatDuration, rateText, SafeText, Time } from "./text.tsx"
import { attempt, notify } from "./toasts.tsx"

const GROUPS_PER_PAGE = 10

const groupPath = ({ queue, group }: Pick<GroupView, "queue" | "group">) =>
  `/queues/${encodeURIComponent(queue)}/groups/${encodeURIComponent(group)}`

const isUnused = ({ waiting, processing, limits, held }: GroupView): boolean =>
  waiting + processing === 0 && limits === undefined && held === undefined

/** Shows nothing for a queue without groups. The filter of its tasks by group also selects the group. */
export function Groups({ queue, query: route }: { queue: string; query: URLSearchParams }) {
  const { cursors, go } = pagesOf(route, "groups_page")
  const [dialog, setDialog] = useState<{ kind: "pause" | "limits"; view: GroupView }>()
  const only = route.get("group")
  const query = queryOf({ limit: GROUPS_PER_PAGE, cursor: cursors.at(-1) })
  const path = only
    ? groupPath({ queue, group: only })
    : `/queues/${encodeURIComponent(queue)}/groups${query}`
  const load = async (signal: AbortSignal): Promise<GroupsAnswer> => {
    const answer = await requestJson<GroupsAnswer | GroupView>("GET", path, undefined, signal)
    // Any name is answered, also that of a group without tasks and limits.
    return "groups" in answer ? answer : { groups: isUnused(answer) ? [] : [answer] }
  }
  const { value, problem, stale, refresh } = useData(path, load, { pollMs: 3_000 })
  if (problem) return <ProblemNote problem={problem} />
  if (value === undefined || (value.groups.length === 0 && cursors.length === 0)) return null
  const close = () => setDialog(undefined)
  return (
    <section aria-label="Groups">
      <h2>Groups</h2>
      <GroupTable groups={value.groups} stale={stale} open={setDialog} refresh={refresh} />
      {!only && <Pager cursors={cursors} next={value.next} go={go} />}
      {dialog?.kind === "pause" && <PauseGroupDialog view={dialog.view} onClose={close} onDone={refresh} />}
      {dialog?.kind === "limits" && <GroupLimitsDialog view={dialog.view} onClose={close} onDone={refresh} />}
    </section>
  )
}

function GroupTable(props: {
  groups: readonly GroupView[]
  stale: boolean
  open: (dialog: { kind: "pause" | "limits"; view: GroupView }) => void
  refresh: () => void
}) {
  return (
    <Table
      label="Groups"
      rows={props.groups}
      keyOf={({ group }) => group}
      stale={props.stale}
      columns={[
        {
          head: "Group",
          cell: view => (
            <>
              <a
                class="mono"
                href={`#/queues/${encodeURIComponent(view.queue)}${queryOf({ state: "all", group: view.group })}`}
                title={escapeInvisible(view.group)}
              >
                <SafeText text={nameOf(view)} most={128} />
              </a>
              {view.limits && <div class="dim">{limitsText(view.limits)}</div>}
            </>
          ),
        },
        { head: "Waiting", cell: ({ waiting }) => formatCount(waiting), num: true },
        { head: "Running", cell: ({ processing }) => formatCount(processing), num: true },
        {
          head: "Oldest wait",
          cell: ({ oldest_waiting_ms: ms }) => (ms === undefined ? "–" : formatDuration(ms)),
          num: true,
          wide: true,
        },
        { head: "Held", cell: view => <Held view={view} /> },
        can("operate") && {
          head: "",
          cell: view => (
            <div class="buttons">
              {view.paused_at === undefined ? (
                <button
                  type="button"
                  aria-label={`Pause group ${nameOf(view)}`}
                  onClick={() => props.open({ kind: "pause", view })}
                >
                  <Icon name="pause" /> Pause group
                </button>
              ) : (
                <button
                  type="button"
                  aria-label={`Resume group ${nameOf(view)}`}
                  onClick={() => resumeGroup(view, props.refresh)}
                >
                  <Icon name="play" /> Resume group
                </button>
              )}
              <button
                type="button"
                aria-label={`Group limits: ${nameOf(view)}`}
                onClick={() => props.open({ kind: "limits", view })}
              >
                <Icon name="gear" /> Group limits
              </button>
            </div>
          ),
        },
      ]}
    />
  )
}

/** A name may consist of spaces only, which nobody would see. */
const nameOf = ({ group }: GroupView) => (group.trim() === "" ? JSON.stringify(group) : group)

const CAUSES: Record<NonNullable<GroupView["held"]>["cause"], string> = {
  concurrency: "at its concurrency limit",
  rate: "at its rate limit",
  order: "an earlier task has not ended",
  paused: "paused",
  asked: "a worker has asked to hold it",
}

function Held({ view: { held, pause_reason } }: { view: GroupView }) {
  if (held === undefined) return <>–</>
  return (
    <>
      <Badge of={held.cause === "paused" ? "paused" : "held"}>{CAUSES[held.cause]}</Badge>
      {pause_reason && (
        <div>
          <SafeText text={pause_reason} most={200} />
        </div>
      )}
      {held.until_at !== undefined && (
        <div class="dim">
          until <Time at={held.until_at} />
        </div>
      )}
      {held.cause === "order" && held.task_ids?.[0] && (
        <div>
          <TaskLink id={held.task_ids[0]} />
        </div>
      )}
    </>
  )
}

/** The limits of a group's own, in one line. */
export function limitsText({ concurrency, rate, order, on_dead, max_waiting }: GroupLimits): string {
  const parts = [
    concurrency === undefined ? "" : `${concurrency} running`,
    rate === undefined ? "" : rateText(rate),
    order === undefined ? "" : `${order} order`,
    on_dead === undefined ? "" : on_dead === "block" ? "a dead task blocks" : "dead tasks are skipped",
    max_waiting === undefined ? "" : `at most ${max_waiting} waiting`,
  ]
  return parts.filter(Boolean).join(", ")
}

const resumeGroup = (view: GroupView, refresh: () => void) =>
  attempt(async () => {
    await requestJson("POST", `${groupPath(view)}/resume`)
    notify("The group is resumed")
    refresh()
  })

interface DialogProps {
  view: GroupView
  onClose: () => void
  onDone: () => void
}

const PauseGroupDialog = ({ view, onClose, onDone }: DialogProps) => (
  <PauseForm
    title="Pause this group?"
    path={`${groupPath(view)}/pause`}
    hint="Shown here and by /why."
    done="The group is paused"
    onClose={onClose}
    onDone={onDone}
  >
    Tasks of <SafeText text={nameOf(view)} most={128} /> are accepted but not leased until the group is
    resumed. Other groups are not affected.
  </PauseForm>
)

function GroupLimitsDialog({ view, onClose, onDone }: DialogProps) {
  const { concurrency = "", order = "", max_waiting = "" } = view.limits ?? {}
  const [most, setMost] = useState(String(concurrency))
  const [mostWaiting, setMostWaiting] = useState(String(max_waiting))
  const [chosen, setChosen] = useState<string>(order)
  const save = async () => {
    // The request replaces all limits, and this view may be out of date: change only what was edited.
    const { limits } = await requestJson<GroupView>("GET", groupPath(view))
    const wanted: Partial<Record<keyof GroupLimits, unknown>> = { ...limits }
    if (most !== String(concurrency)) wanted.concurrency = most ? Number(most) : undefined
    if (mostWaiting !== String(max_waiting))
      wanted.max_waiting = mostWaiting ? Number(mostWaiting) : undefined
    if (chosen !== order) wanted.order = chosen || undefined
    if (Object.values(wanted).every(value => value === undefined))
      await requestJson("DELETE", groupPath(view))
    else await requestJson("PUT", groupPath(view), wanted)
    notify("The limits of the group are saved")
    onDone()
  }
  return (
    <ActionDialog title="Limits of this group" button="Save" run={save} onClose={onClose}>
      <p>
        The limits of <SafeText text={nameOf(view)} most={128} /> that differ from those of the other groups
        of the queue. Leave a field empty to use the limit of the queue.
      </p>
      <LimitField
        label="Max running"
        hint="Maximum number of running tasks of the group."
        value={most}
        most={1_000_000}
        onInput={setMost}
      />
      <LimitField
        label="Waiting"
        hint="Maximum number of ready tasks before submits are refused."
        value={mostWaiting}
        most={10_000_000}
        onInput={setMostWaiting}
      />
      <Select
        label="Order"
        value={chosen}
        options={[
          ["", "as in the queue"],
          ["any", "any"],
          ["strict", "strict: one task after another"],
        ]}
        onChange={setChosen}
      />
    </ActionDialog>
  )
}
