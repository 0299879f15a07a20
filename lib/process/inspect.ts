/** `bun run inspect <task_id>`: prints the record of a task from Redis, with a name for each field. It changes nothing. */
import { readInspectConfig, redisAddress } from "../config/config.ts"
import { Refused } from "../errors.ts"
import { createLog } from "../log.ts"
import { existingSocket } from "../redis/embedded.ts"
import { keyOf, type QueueKey } from "../redis/keys.ts"
import { Scripts } from "../redis/scripts.ts"
import { Store } from "../redis/store.ts"
import { splitId } from "../task/id.ts"
import { POLICY_FIELDS, withoutGroup } from "../task/policy.ts"
import { type RawTask, readTask, splitRecord } from "../task/record.ts"
import type { Task } from "../task/task.ts"
import type { State } from "../wire/fields.ts"
import { runProgram } from "./help.ts"

/** Longer texts are cut: a payload may have a megabyte. */
const MAX_SHOWN_CHARACTERS = 2_000
const LABEL_COLUMN = 22

/** The sorted set or list that holds the tasks of each state. */
const PLACE_OF = {
  scheduled: "due",
  queued: "ready",
  processing: "leases",
  retrying: "due",
  done: "done",
  dead: "dead",
  cancelled: "cancelled",
} as const satisfies Record<State, QueueKey>

type Row = [label: string, value: string | number | undefined]

/** Every field of a task under its name; fields that it does not have are left out. Text of clients is escaped. */
function describeRecord(task: Task, raw: RawTask): string {
  const { queue, policy, state } = task
  const { localId } = splitId(task.id)
  const [, text, large] = raw
  const { lease, policy: policyLine } = splitRecord(text)
  const { group } = task
  const list = `${policy.priority}${group ?? ""}`
  const isInList = state === "queued" || (state === "done" && policy.resultTtlMs === -1)
  const place =
    state === "queued" && group !== undefined
      ? "group"
      : state === "done" && isInList
        ? "completed"
        : PLACE_OF[state]
  const set = keyOf(queue, place, state === "queued" ? list : "")
  const rows: Row[] = [
    ["id", task.id],
    ["queue", queue],
    ["state", state],
    ["type", quoted(task.type)],
    ["reason", task.reason],
    ["error", task.error && quoted(task.error)],
    ["", ""],
    ["created", timeText(task.createdAt)],
    ["started", timeText(task.startedAt)],
    ["finished", timeText(task.finishedAt)],
    ["due", timeText(task.dueAt)],
    ["lease expires", timeText(task.leaseExpiresAt)],
    ["cancel requested", timeText(task.cancelRequestedAt)],
    ["attempt", task.attempt],
    ["lease", lease],
    ["worker", task.worker],
    ["retries", `${task.retries} of ${policy.maxRetries}`],
    ["crashes", `${task.crashes} of ${policy.maxCrashes}`],
    ["releases", task.releases],
    ["", ""],
    ...withoutGroup(policyLine)
      .split(" ")
      .map((value, i): Row => [POLICY_FIELDS[i]!, value]),
    ["group", group && quoted(group)],
    ["unique key", task.uniqueKey],
    ["", ""],
    ["payload", shortened(task.payload)],
    ["result", task.result && shortened(task.result)],
    ["progress", task.progress && shortened(task.progress)],
    ["checkpoint", task.checkpoint && shortened(task.checkpoint)],
    ["meta and trace", task.memberJson && shortened(task.memberJson)],
    ...task.history.map((attempt): Row => ["earlier attempt", shortened(attempt)]),
    ...task.log.map((line): Row => ["log", quoted(line)]),
    ["", ""],
    ["record in", `GET ${keyOf(queue, "task", localId)}`],
    ["payload in", large === null ? undefined : `GET ${keyOf(queue, "payload", localId)}`],
    ["listed in", isInList ? `LPOS ${set} ${localId}` : `ZSCORE ${set} ${localId}`],
  ]
  return rows
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => (label === "" ? "" : label.padEnd(LABEL_COLUMN) + value))
    .join("\n")
}

const timeText = (ms: number | undefined) => (ms ? `${new Date(ms).toISOString()}  ${ms}` : undefined)

const quoted = (text: string) => shortened(JSON.stringify(text))

/** JSON text on one line, without control characters, so that it cannot move the cursor of a terminal. */
function shortened(json: string): string {
  const line = json.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, " ")
  return line.length > MAX_SHOWN_CHARACTERS
    ? `${line.slice(0, MAX_SHOWN_CHARACTERS)}… (${line.length} characters)`
    : line
}

async function main(id: string): Promise<number> {
  const config = readInspectConfig()
  const { queue, localId } = splitId(id)
  let store: Store | undefined
  try {
    store = await Store.open(await targetOf(config), createLog("silent"))
    const [raw] = await new Scripts(store).call("inspect", queue, {}, [{ id: localId }])
    if (!raw) {
      console.error(
        `No task has the id ${JSON.stringify(id)}, or it was deleted after its retention period. The ids of all queues but \`default\` begin with the queue: emails:01KAV9…`,
      )
      return 1
    }
    console.log(describeRecord(readTask(queue, raw, "all"), raw))
    return 0
  } catch (error) {
    if (!(error instanceof Error)) throw error
    console.error(
      `Redis could not be read: ${error instanceof Refused ? (error.facts.detail ?? error.message) : error.message}`,
    )
    return 1
  } finally {
    await store?.close(0)
  }
}

/** The Redis of a broker with the same settings. Without an address: the server that a broker started in DATA_DIR. */
async function targetOf(config: ReturnType<typeof readInspectConfig>) {
  const address = redisAddress(config)
  return {
    ...(address ?? { url: await existingSocket(config.dataDir) }),
    username: config.redisUsername,
    password: config.redisPassword,
    timeoutMs: config.redisTimeoutMs,
    name: "tq-inspect",
  }
}

if (import.meta.main) {
  const [id, ...others] = process.argv.slice(2)
  if (id === undefined) {
    console.error(
      "inspect: the id of a task is missing. Example: bun run inspect emails:01KAV9FT345D2Q7RWM4HTE",
    )
    process.exit(2)
  }
  const isOption = id.startsWith("-")
  process.exit(await runProgram("inspect", isOption ? [id, ...others] : others, () => main(id)))
}
