/** Prose and examples of the routes for dead tasks. */
import { badQuery, DEAD, DEAD_GROUP, FILTER, ID, NEXT, PAGED, type ProseOf } from "./prose.ts"

export const deadLetters: ProseOf<"dead-letters"> = {
  listDead: {
    description:
      "Dead tasks, queue after queue, the newest first; `reason` says why each is dead. `dlq_size` counts all dead tasks of " +
      `the queues, whatever the filter. ${FILTER}${PAGED}`,
    query: { queue: "default", limit: 100 },
    answers: {
      200: {
        description: "A page of dead tasks.",
        examples: {
          page: { dlq_size: 1, tasks: [DEAD] },
          "with a next page": { dlq_size: 250, tasks: [DEAD], next: NEXT },
          empty: { dlq_size: 0, tasks: [] },
        },
      },
    },
    problems: { bad_request: badQuery("listDead", "cursor=?") },
  },

  groupDead: {
    description:
      "A group holds the dead tasks of the same type and reason whose errors differ only in numbers, hex, UUIDs or quoted text. " +
      `${FILTER}${PAGED} Each answer counts only its own call: add up groups that have the same fingerprint.`,
    query: { queue: "default" },
    answers: {
      200: {
        description: "The groups, the largest first.",
        examples: { "one error": { groups: [DEAD_GROUP] }, "none in this call": { groups: [], next: NEXT } },
      },
    },
    problems: { bad_request: badQuery("groupDead", "reason=error") },
  },

  retryDeadTask: {
    description:
      "Moves the task to the end of its queue, with `retries`, `crashes` and `releases` set to 0 and without its expiry. Its " +
      "checkpoint is kept. A body without Content-Type application/json is ignored.",
    body: { unchanged: {}, "with another payload": { payload: { to: "b@example.org" } } },
    answers: {
      200: {
        description: "The task waits for a worker again.",
        examples: { requeued: { status: "requeued_from_dlq", task_id: ID } },
      },
    },
    problems: { key_taken: { task_id: ID } },
    advice: {
      404: "No dead task has this id: it is not dead, was already retried, or was deleted.",
      409: "Another task now holds its `unique_key`. Retry this task when that one has ended.",
    },
  },

  retryDeadTasks: {
    description:
      `Like /dlq/retry/{id}, for many tasks, the newest of each queue first. Their attempts are kept. ${FILTER}${PAGED} \`patch\` ` +
      "changes the payloads. With `canary`, one task is retried first, and the others only if it is done within `wait_ms`. If " +
      "it is not, ask /status for it; once it is done, repeat the call with the same filter and patch, without `canary`, and " +
      "with `next` as `cursor`.",
    body: {
      "dry run": { queue: "mail", reason: "failed", dry_run: true },
      "one group": { fingerprint: "9f2c41d07ab35e68", limit: 1_000 },
      "with a patch": { type: "mail", patch: { server: "mail2.example.org", port: null } },
      "one task first": { type: "mail", canary: true, wait_ms: 100 },
    },
    answers: {
      200: {
        description: "The tasks wait for workers again; with `dry_run`, what would happen.",
        examples: {
          all: { requeued: 214, skipped: 0 },
          "more to check": { requeued: 99, skipped: 1, next: NEXT },
          "the canary is done": { requeued: 214, skipped: 0, canary: { task_id: ID, state: "done" } },
          "the canary is not done yet": {
            requeued: 1,
            skipped: 0,
            canary: { task_id: ID, state: "processing" },
            next: NEXT,
          },
        },
      },
    },
  },

  purgeDeadTasks: {
    description: `${FILTER}Without a filter, all dead tasks match. With \`dry_run\`, nothing is deleted. ${PAGED} Deletion cannot be undone.`,
    body: {
      "dry run": { queue: "mail", error: "no mailbox", dry_run: true },
      "old tasks": { older_than_ms: 86_400_000, limit: 1_000 },
      "one group": { fingerprint: "9f2c41d07ab35e68" },
    },
    answers: {
      200: {
        description: "The tasks are deleted; with `dry_run`, what would be deleted.",
        examples: { all: { purged: 214 }, "more to check": { purged: 100, next: NEXT } },
      },
    },
  },

  deleteDeadTask: {
    description: "Deletion cannot be undone. The body is not read.",
    answers: {
      200: {
        description: "The task is deleted.",
        examples: { deleted: { status: "deleted_from_dlq", task_id: ID } },
      },
    },
    advice: { 404: "No dead task has this id: it is not dead, was retried, or was already deleted." },
  },
}
