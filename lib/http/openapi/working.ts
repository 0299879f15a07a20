/** Prose and examples of the routes for workers. */
import { type Facts, Refused } from "../../errors.ts"
import { problem } from "../answer.ts"
import { badBody, badQuery, EACH, ID, LEASE, LEASED, NOW, type ProseOf } from "./prose.ts"

const LOST: Facts = {
  task_id: ID,
  attempt: 2,
  state: "processing",
  detail: "Attempt 2 holds the task now. Discard your result.",
}
const unknownTask = problem(new Refused("task_not_found", { task_id: ID }))

export const working: ProseOf<"working"> = {
  leaseOne: {
    description:
      "Leases the oldest task of the highest priority in the first queue that has one. Run it, then send its `id` and `lease` " +
      "to /ack before `lease_expires_at`, or to /extend for more time. Prefer POST /lease: HTTP clients and proxies may repeat " +
      "a GET on their own, and the task of the lost answer then waits until its lease lapses.",
    query: { queue: ["default"], wait_ms: 0, worker: "host-1" },
    answers: {
      200: { description: "A task, leased to the caller.", examples: { leased: LEASED } },
      204: { description: "No task is ready, or none became ready within `wait_ms`. Poll again." },
    },
    problems: { bad_request: badQuery("leaseOne", "wait_ms=30000") },
  },

  lease: {
    description:
      "Like GET /get, but for many tasks, and never repeated by HTTP clients or proxies on their own. It answers as soon as one task is ready, " +
      "often with fewer than `max`. Queues are tried in the given order.",
    body: {
      default: {},
      "all options": { queues: ["mail", "default"], max: 10, wait_ms: 100, worker: "host-1" },
    },
    answers: {
      200: {
        description: "Tasks leased to the caller. The list is empty if none is ready: poll again.",
        examples: {
          leased: { tasks: [LEASED] },
          nothing: { tasks: [] },
          "the worker is draining": { tasks: [], drain: true },
        },
      },
    },
    problems: { bad_request: badBody("lease", { max: 0 }) },
  },

  ack: {
    description:
      "done; failed: counts against `max_retries`; released: returns the task to the front of its queue, or after " +
      "`retry_in_ms` to its end, without counting a failure. After a failure the next attempt waits as the `backoff` of the " +
      "task says, or `retry_in_ms`; with `retry: false` the task is dead at once. Send the `lease`: then only its holder can end the task, and a repeated ack " +
      `gets the same answer. An ack without a lease is accepted as long as any worker has leased the task. ${EACH}`,
    body: {
      done: { task_id: ID, lease: LEASE, result: { hello: "world" } },
      failed: { task_id: ID, lease: LEASE, status: "failed", error: "the mail server said no" },
      "failed, retry in a minute": {
        task_id: ID,
        lease: LEASE,
        status: "failed",
        error: "the mail server is busy",
        retry_in_ms: 60_000,
      },
      "failed, do not retry": {
        task_id: ID,
        lease: LEASE,
        status: "failed",
        error: "no such file",
        retry: false,
      },
      released: { task_id: ID, lease: LEASE, status: "released" },
      "released, with a pause": {
        task_id: ID,
        lease: LEASE,
        status: "released",
        error: 'this worker has no handler for type "mail"',
        retry_in_ms: 4_000,
      },
      "without a lease": { task_id: ID, status: "done" },
      many: [{ task_id: ID, lease: LEASE, status: "done" }],
    },
    answers: {
      200: {
        description:
          "The outcome is stored: forget the task. cancelled: the task was cancelled, and has ended as cancelled whatever " +
          "the ack said.",
        examples: {
          done: { status: "acknowledged", task_id: ID },
          "failed, retries left": { status: "requeued", task_id: ID, retries: 1 },
          "failed, no retries left": { status: "moved_to_dlq", task_id: ID, retries: 4 },
          released: { status: "released", task_id: ID },
          cancelled: { status: "cancelled", task_id: ID },
          many: [{ status: "acknowledged", task_id: ID }, unknownTask],
        },
      },
    },
    problems: {
      bad_request: badBody("ack", { task_id: ID, status: "success" }),
      lease_lost: LOST,
      not_leased: {
        task_id: ID,
        state: "done",
        detail: "The task is done. Only a leased task can be acknowledged.",
      },
    },
    advice: {
      404: "No task has this id; it may have been deleted. Forget it.",
      409: "lease_lost: this lease has ended, and another worker may have the task. not_leased: the ack named no lease, and the task is not leased. Discard your result.",
    },
  },

  extend: {
    description:
      "Moves the end of the lease to `timeout_ms` from now (default: the `timeout_ms` of the task), but never beyond the " +
      "`max_runtime_ms` of the attempt. Extend again after a third of that time. `progress` and `checkpoint` replace their " +
      "previous values, `log` adds lines. /status shows them, and the next attempt gets the checkpoint. Safe to repeat, " +
      `except that a repeated extend stores its \`log\` lines twice. ${EACH}`,
    body: {
      one: { task_id: ID, lease: LEASE },
      "for a minute": { task_id: ID, lease: LEASE, timeout_ms: 60_000 },
      "with progress": {
        task_id: ID,
        lease: LEASE,
        progress: { done: 400, of: 1_000 },
        checkpoint: { line: 400 },
        log: ["400 of 1000 lines"],
      },
      many: [{ task_id: ID, lease: LEASE }],
    },
    answers: {
      200: {
        description:
          "The lease is valid until `lease_expires_at`. cancelled: stop working on the task, and ack it.",
        examples: {
          one: { status: "ok", task_id: ID, lease_expires_at: NOW + 60_000 },
          cancelled: { status: "cancelled", task_id: ID, lease_expires_at: NOW + 60_000 },
          many: [{ status: "ok", task_id: ID, lease_expires_at: NOW + 60_000 }, unknownTask],
        },
      },
    },
    problems: {
      bad_request: badBody("extend", { task_id: ID, lease: "1" }),
      lease_lost: LOST,
    },
    advice: {
      404: "No task has this id; it may have been deleted. Stop working on it.",
      409: "This lease has ended. Stop working on the task and discard its result.",
    },
  },

  work: {
    description:
      "The whole protocol of a worker in one request: `extend` is processed first, like /extend; then `settle`, like /ack; then " +
      "up to `max` tasks are leased. So the last progress of a task can travel with its ack. The request waits `wait_ms` only if " +
      "`settle` and `extend` are empty. If no answer arrives, send `settle` and `extend` again; tasks that were leased for the " +
      "lost answer return when their leases lapse. If `drain` is true, finish the tasks you have and stop: no more come.",
    body: {
      "an idle worker": { worker: "host-1", queues: ["mail", "default"], max: 10, wait_ms: 100 },
      "a busy worker": {
        worker: "host-1",
        queues: ["default"],
        max: 1,
        settle: [{ task_id: ID, lease: LEASE, result: { hello: "world" } }],
        extend: [{ task_id: ID, lease: LEASE, progress: 0.5 }],
      },
      "a stopping worker": { settle: [{ task_id: ID, lease: LEASE, status: "released" }] },
    },
    answers: {
      200: {
        description: "`settled` and `extended` have one answer per item of the request, in the same order.",
        examples: {
          tasks: { tasks: [LEASED], settled: [], extended: [], lost: [], cancelled: [], drain: false },
          "answers to items": {
            tasks: [],
            settled: [{ status: "acknowledged", task_id: ID }],
            extended: [{ status: "cancelled", task_id: ID, lease_expires_at: NOW + 30_000 }, unknownTask],
            lost: [`mail:${ID}`],
            cancelled: [ID],
            drain: false,
          },
        },
      },
    },
    problems: { bad_request: badBody("work", { max: -1 }) },
  },
}
