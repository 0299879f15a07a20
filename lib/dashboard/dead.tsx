/** The dead-letter view: dead tasks grouped by error, with bulk retry and purge. */
import { useState } from "preact/hooks"
import type { DeadGroup, DlqGroupsAnswer } from "../wire/dead-letters.ts"
import { REASONS } from "../wire/states.ts"
import { can, queryOf, requestJson, requestText } from "./api.ts"
import { BulkDialog } from "./bulk-dialog.tsx"
import { type DeadFilter, readDeadFilter } from "./dead-filter.ts"
import { Filter, FilterBar, Select } from "./fields.tsx"
import { Icon } from "./icon.tsx"
import { useData } from "./live.ts"
import { Badge, Empty, ProblemNote, Skeleton } from "./parts.tsx"
import { SimilarQueues } from "./queue-names.tsx"
import { pagesOf, type Route, refine } from "./route.ts"
import { QueueFilter, TypeFilter } from "./search.tsx"
import { Pager, Table } from "./table.tsx"
import { readTasks } from "./task-pages.ts"
import { SelectionBar, useSelection } from "./task-selection.tsx"
import { firstLineOf } from "./task-words.ts"
import { TaskTable } from "./tasks.tsx"
import { formatCount, SafeText, Time } from "./text.tsx"

const HOUR_MS = 3_600_000
const AGES = [
  ["", "any"],
  [`newer_than_ms:${HOUR_MS}`, "less than an hour"],
  [`newer_than_ms:${24 * HOUR_MS}`, "less than a day"],
  [`older_than_ms:${HOUR_MS}`, "more than an hour"],
  [`older_than_ms:${24 * HOUR_MS}`, "more than a day"],
  [`older_than_ms:${168 * HOUR_MS}`, "more than a week"],
] as const
/** Each call inspects up to 1,000 dead tasks. */
const CALLS_PER_PAGE = 10
const TASKS_PER_PAGE = 25
interface DeadAction {
  what: "retry" | "purge"
  filter: DeadFilter
}

export function DeadLetters({ route: { query } }: { route: Route }) {
  const filter = readDeadFilter(query)
  const [bulk, setBulk] = useState<DeadAction>()
  const [runs, setRuns] = useState(0)
  const value = (name: string) => query.get(name) ?? ""
  const { fingerprint } = filter
  const groups = useGroups(filter)
  const all = (what: DeadAction["what"]) => setBulk({ what, filter })
  const reload = () => {
    groups.refresh()
    setRuns(runs + 1)
  }
  const any = (groups.value?.groups.length ?? 0) > 0
  return (
    <>
      <div class="title">
        <h1>Dead letters</h1>
        <span class="grow" />
        {can("operate") && any && (
          <div class="buttons">
            <button type="button" onClick={() => all("retry")}>
              <Icon name="retry" /> Retry all
            </button>
            <button type="button" onClick={() => all("purge")}>
              <Icon name="trash" /> Purge all
            </button>
          </div>
        )}
      </div>
      <FilterBar query={query} names={["queue", "queue_part", "type", "type_part", "reason", "error", "age"]}>
        <QueueFilter query={query} />
        <TypeFilter query={query} queue={value("queue") || undefined} />
        <Select
          label="Reason"
          value={value("reason")}
          options={[["", "any"], ...REASONS.map(of => [of, of.replace("_", " ")] as const)]}
          onChange={reason => refine({ reason })}
        />
        <Filter label="Error contains" value={value("error")} onChange={error => refine({ error })} />
        <Select label="Dead for" value={value("age")} options={AGES} onChange={age => refine({ age })} />
      </FilterBar>
      {groups.problem && <ProblemNote problem={groups.problem} />}
      {groups.value === undefined ? (
        groups.problem === undefined && <Skeleton rows={6} />
      ) : !any ? (
        <Empty title="No dead tasks">
          <p>
            Tasks that fail on their last attempt or expire appear here with the reason and the last error.
          </p>
          <SimilarQueues name={value("queue")} />
          {query.size > 0 && <a href="#/dead">Clear the filters</a>}
        </Empty>
      ) : (
        <GroupTable groups={groups.value.groups} stale={groups.stale} filter={filter} start={setBulk} />
      )}
      {groups.value?.more && (
        <p class="dim">
          This list covers only the newest {formatCount(CALLS_PER_PAGE * 1_000)} of each queue. Filters narrow
          it down.
        </p>
      )}
      {fingerprint && any && (
        <>
          <div class="title">
            <h2>Tasks in this group</h2>
            <span class="grow" />
            <button type="button" class="quiet" onClick={() => refine({ fingerprint: "" })}>
              <Icon name="back" /> All groups
            </button>
          </div>
          <GroupTasks filter={filter} query={query} runs={runs} />
        </>
      )}
      {bulk && (
        <BulkDialog
          title={`${bulk.what === "retry" ? "Retry" : "Purge"} ${bulk.filter.fingerprint ? "the dead tasks in this group" : "dead tasks"}`}
          order={{ action: bulk.what, filter: bulk.filter }}
          onClose={() => setBulk(undefined)}
          onDone={reload}
        />
      )}
    </>
  )
}

const eventsOf = ({ queue }: DeadFilter) => queryOf({ queue, event: "dead,retried,deleted,purged" }).slice(1)

/** Loads several pages of groups and merges groups with the same fingerprint. */
function useGroups(filter: DeadFilter) {
  const load = async (signal: AbortSignal) => {
    const found = new Map<string, DeadGroup>()
    let cursor: string | undefined
    let call = 0
    do {
      const answer = await requestJson<DlqGroupsAnswer>(
        "GET",
        `/dlq/groups${queryOf({ ...filter, cursor })}`,
        undefined,
        signal,
      )
      for (const group of answer.groups) {
        const before = found.get(group.fingerprint)
        if (before === undefined) found.set(group.fingerprint, group)
        else {
          before.count += group.count
          before.first_at = Math.min(before.first_at, group.first_at)
          before.last_at = Math.max(before.last_at, group.last_at)
        }
      }
      cursor = answer.next
    } while (cursor !== undefined && ++call < CALLS_PER_PAGE)
    return { groups: [...found.values()].sort((a, b) => b.count - a.count), more: cursor !== undefined }
  }
  return useData(JSON.stringify(filter), load, {
    events: eventsOf(filter),
  })
}

const nameOf = ({ sample, error }: DeadGroup) => firstLineOf(sample.error ?? error) || "no error message"

function GroupTable(props: {
  groups: readonly DeadGroup[]
  stale: boolean
  filter: DeadFilter
  start: (bulk: DeadAction) => void
}) {
  const of = (group: DeadGroup, what: DeadAction["what"]) =>
    props.start({ what, filter: { ...props.filter, fingerprint: group.fingerprint } })
  return (
    <Table
      label="Dead tasks by error"
      rows={props.groups}
      keyOf={group => group.fingerprint}
      stale={props.stale}
      columns={[
        {
          head: "Error",
          grow: true,
          cell: group => (
            <a
              class="error"
              href={`#/dead${queryOf({ ...Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])), fingerprint: group.fingerprint, page: undefined })}`}
            >
              <SafeText text={nameOf(group)} most={300} />
            </a>
          ),
        },
        { head: "Type", cell: group => <SafeText text={group.type} most={80} /> },
        { head: "Reason", cell: group => <Badge of={group.reason}>{group.reason.replace("_", " ")}</Badge> },
        { head: "Tasks", num: true, cell: group => formatCount(group.count) },
        { head: "First", num: true, wide: true, cell: group => <Time at={group.first_at} live={false} /> },
        { head: "Last", num: true, cell: group => <Time at={group.last_at} /> },
        can("operate") && {
          head: "",
          num: true,
          cell: group => (
            <div class="buttons">
              <button
                type="button"
                class="quiet"
                aria-label={`Retry: ${nameOf(group)}`}
                onClick={() => of(group, "retry")}
              >
                <Icon name="retry" /> Retry
              </button>
              <button
                type="button"
                class="quiet"
                aria-label={`Purge: ${nameOf(group)}`}
                onClick={() => of(group, "purge")}
              >
                <Icon name="trash" /> Purge
              </button>
            </div>
          ),
        },
      ]}
    />
  )
}

/** `runs` changes after a bulk action, which ends many of these tasks. */
function GroupTasks({ filter, query, runs }: { filter: DeadFilter; query: URLSearchParams; runs: number }) {
  const { cursors, go } = pagesOf(query)
  const key = `${JSON.stringify(filter)} ${cursors.at(-1) ?? ""} ${runs}`
  const load = async (signal: AbortSignal) => {
    let cursor = cursors.at(-1)
    for (let call = 1; ; call++) {
      const path = `/dlq${queryOf({ ...filter, limit: TASKS_PER_PAGE, cursor })}`
      const answer = readTasks(await requestText("GET", path, { signal }))
      if (answer.tasks.length > 0 || answer.next === undefined || call === CALLS_PER_PAGE) return answer
      cursor = answer.next
    }
  }
  const { value, problem, stale, refresh } = useData(key, load, { events: eventsOf(filter) })
  const selection = useSelection(JSON.stringify(filter))
  if (problem) return <ProblemNote problem={problem} />
  if (value === undefined) return <Skeleton rows={4} />
  return (
    <>
      {selection && (
        <SelectionBar
          selection={selection}
          shown={value.tasks}
          listed="dead"
          filter={filter}
          onDone={refresh}
        />
      )}
      <TaskTable
        tasks={value.tasks}
        queues
        stale={stale}
        label="Dead tasks in this group"
        selection={selection}
      />
      <Pager cursors={cursors} next={value.next} go={go} />
    </>
  )
}
