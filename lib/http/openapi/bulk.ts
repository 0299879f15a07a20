/** Prose and examples of the requests that change many tasks by a filter. */
import type { BulkView } from "../../wire/bulk.ts"
import { badBody, FILTER, ID, NEXT, NOW, PAGED, type ProseOf } from "./prose.ts"

const BULK_ID = "01KATR6Q2M8V5Z1X7Y3N9B"

const RUNNING: BulkView = {
  bulk_id: BULK_ID,
  action: "retry",
  filter: { queue: "mail", fingerprint: "9f2c41d07ab35e68", state: "dead" },
  rate: 50,
  reason: "the mail server is back",
  author: "ada",
  started_at: NOW,
  state: "waiting_for_canary",
  progress: { total: 214, seen: 1, done: 1, skipped: 0 },
  canary: { task_id: ID, state: "processing" },
  outcome: { succeeded: 0, died_again: 0, other: 0, still_going: 1 },
}

const FINISHED: BulkView = {
  ...RUNNING,
  ended_at: NOW + 60_000,
  state: "finished",
  progress: { total: 214, seen: 214, done: 212, skipped: 2 },
  canary: { task_id: ID, state: "done" },
  outcome: { succeeded: 190, died_again: 12, other: 0, still_going: 10 },
}

const STOPPED: BulkView = {
  ...RUNNING,
  ended_at: NOW + 2_000,
  state: "stopped",
  cause: `The canary ${ID} died again: the mail server said no.`,
  canary: { task_id: ID, state: "dead" },
  outcome: { succeeded: 0, died_again: 1, other: 0, still_going: 0 },
}

export const bulk: ProseOf<"bulk"> = {
  cancelTasks: {
    description:
      `Like /cancel/{id}, for many tasks. ${FILTER}Without \`state\`, waiting tasks match; running ones are cancelled only with ` +
      `\`state\` processing or any. With \`dry_run\`, nothing is cancelled. ${PAGED}`,
    body: {
      "dry run": { queue: "mail", type: "newsletter", dry_run: true },
      "running tasks too": { group: "acme", state: "any", limit: 1_000 },
      "by label": { meta: { team: "mail" }, older_than_ms: 3_600_000 },
    },
    answers: {
      200: {
        description: "The tasks are cancelled, or end as cancelled; with `dry_run`, what would happen.",
        examples: {
          all: { cancelled: 214, cancelling: 3, skipped: 0 },
          "more to check": { cancelled: 99, cancelling: 0, skipped: 1, next: NEXT },
        },
      },
    },
  },

  startBulk: {
    description:
      "Brokers change all tasks that match, page by page, in the background: the operation continues if the client disconnects or a " +
      "broker dies. It covers the tasks that were there when it started. With `canary`, the first task must be done before the " +
      "others are retried; if it dies again, the operation stops. A repeated request with the same Idempotency-Key returns the " +
      "operation that the first one started.",
    parameters: [
      {
        in: "header",
        name: "Idempotency-Key",
        schema: { type: "string" },
        description: "makes the request safe to repeat: 1 to 200 printable ASCII characters without spaces",
      },
    ],
    body: {
      "retry a group of dead tasks": {
        action: "retry",
        filter: { fingerprint: "9f2c41d07ab35e68" },
        canary: true,
        rate: 50,
        reason: "the mail server is back",
      },
      "purge old dead tasks": { action: "purge", filter: { older_than_ms: 86_400_000 } },
      "empty a queue": { action: "purge", filter: { queue: "mail", state: "queued" } },
      "cancel by label": { action: "cancel", filter: { meta: { team: "mail" }, state: "any" } },
      "start retries now": { action: "start_now", filter: { queue: "mail", state: "retrying" } },
      "submit tasks again by a text": {
        action: "submit_again",
        filter: { queue: "mail", text: "ada@example.org", state: "done" },
      },
      "purge all ended tasks": { action: "purge", filter: { state: "ended" } },
      "some tasks": { action: "cancel", filter: { task_ids: [ID] } },
    },
    answers: {
      200: {
        description: "The operation has started, or an earlier request with the same key started it.",
        examples: { started: RUNNING },
      },
    },
    problems: { bad_request: badBody("startBulk", { action: "delete", filter: {} }) },
    advice: { 422: "The Idempotency-Key was used for another request. Use another key." },
  },

  countBulk: {
    description:
      "Counts the tasks that an operation would change if it started now. One call looks at up to 1,000 tasks, so add up " +
      "`matching` of all calls. Changes nothing.",
    body: {
      "retries of a group of dead tasks": { action: "retry", filter: { fingerprint: "9f2c41d07ab35e68" } },
      "cancels by a text": {
        action: "cancel",
        filter: { queue: "mail", text: "ada@example.org", state: "any" },
      },
    },
    answers: {
      200: {
        description: "How many of the tasks that this call has looked at match.",
        examples: { all: { matching: 214 }, "more to check": { matching: 831, next: NEXT } },
      },
    },
    problems: { bad_request: badBody("countBulk", { action: "retry" }) },
  },

  listBulk: {
    query: { limit: 50 },
    description:
      "The newest first: all operations that have not ended, and ended ones up to a total of 50. A token that is bound to queues sees those that cover only its queues.",
    answers: {
      200: {
        description: "The operations.",
        examples: { several: { operations: [RUNNING, FINISHED, STOPPED] }, none: { operations: [] } },
      },
    },
  },

  getBulk: {
    description:
      "`progress` is stored after each page, and `outcome` follows the retried tasks until they have ended.",
    answers: {
      200: {
        description: "The operation.",
        examples: { "waiting for the canary": RUNNING, finished: FINISHED, "stopped by its canary": STOPPED },
      },
    },
  },

  stopBulk: {
    description:
      "The page in hand is finished; what was changed stays changed. Safe to repeat. The body is not read.",
    answers: {
      200: {
        description: "It ends after the page in hand, or had already ended.",
        examples: {
          stopping: { status: "stopping", bulk_id: BULK_ID },
          ended: { status: "ended", bulk_id: BULK_ID },
        },
      },
    },
  },
}
