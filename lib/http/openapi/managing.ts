/** Prose and examples of the routes for queues and workers. */
import type { QueueSettings } from "../../wire/queue-settings.ts"
import { badBody, NOW, PAUSED, type ProseOf, QUEUE, WORKER } from "./prose.ts"

const SETTINGS: QueueSettings = {
  defaults: { max_retries: 5, timeout_ms: 60_000 },
  concurrency: 10,
  rate: { per_second: 50, burst: 100 },
  attention: { oldest_wait_ms: 900_000, dead: "off" },
}
const NO_WORKER = { 404: "No worker of this name was seen in the last day: see /workers." }

export const managing: ProseOf<"managing"> = {
  listQueues: {
    description:
      "All queues by name or in another order, each as /queues/{queue} shows it. A queue that has had no tasks, schedules, settings " +
      "or polls for an hour is no longer listed. If the answer has a `next`, repeat the " +
      "call with it as `cursor`.",
    query: { limit: 100 },
    answers: {
      200: {
        description: "A page of queues.",
        examples: { page: { queues: [QUEUE] }, "with a next page": { queues: [PAUSED], next: "mail" } },
      },
    },
  },

  getQueue: {
    description:
      "How many tasks the queue holds per state, how long the first of them has waited, when a worker last polled it, " +
      "whether it is paused, and what is wrong with it. A queue is created by its first task: an unknown name is shown as an empty queue.",
    answers: { 200: { description: "The queue.", examples: { running: QUEUE, paused: PAUSED } } },
  },

  pauseQueue: {
    description:
      "A paused queue accepts submits and hands out no tasks: leases come back empty, and long polls keep waiting. Running " +
      "tasks are not affected, and timers keep running: leases lapse and tasks expire as usual. /why reports the pause and its " +
      "`reason`. Safe to repeat: the newest reason replaces the previous one.",
    body: { "without a reason": {}, "with a reason": { reason: "the mail server is being moved" } },
    answers: {
      200: {
        description: "The queue hands out no tasks until it is resumed.",
        examples: { paused: { status: "paused", queue: "mail", paused_at: NOW } },
      },
    },
  },

  resumeQueue: {
    description:
      "Workers that wait for tasks of the queue get them at once. Safe to repeat. The body is not read.",
    answers: {
      200: {
        description: "The queue hands out tasks.",
        examples: { resumed: { status: "resumed", queue: "mail" } },
      },
    },
  },

  setQueueSettings: {
    description:
      "Replaces all settings of the queue: a setting that the body omits is removed, and `{}` removes all. `defaults` are the " +
      "values for tasks whose submit omits them; `concurrency` is how many tasks all workers together may lease at a time; " +
      "`rate` is how fast tasks are handed out, with up to `burst` at once after a quiet period; `groups` are the limits of each " +
      "group of the queue; `attention` are the thresholds above which a queue needs attention. The limits apply from now on; running tasks are not affected. /why reports `limited` for a task that waits because of them. Safe to repeat.",
    body: { "all settings": SETTINGS, "no settings": {} },
    answers: {
      200: {
        description: "The queue with its new settings.",
        examples: { changed: { ...QUEUE, settings: SETTINGS } },
      },
    },
  },

  purgeQueue: {
    description:
      "Deletes queued tasks (the lowest priority first), delayed (scheduled and retrying), done, dead or cancelled tasks, the " +
      "oldest first, but never running tasks. Their unique keys become free, and requests that wait for their end at /status " +
      "get 404 or 410. One call deletes up to `limit`: repeat it until `purged` or `remaining` is 0. With `dry_run`, nothing is " +
      "deleted. Deletion cannot be undone.",
    body: {
      "dry run": { state: "queued", dry_run: true },
      delete: { state: "cancelled", limit: 10_000 },
    },
    answers: {
      200: {
        description: "The tasks are deleted; with `dry_run`, what would be deleted.",
        examples: {
          all: { purged: 12, remaining: 0 },
          "up to the limit": { purged: 10_000, remaining: 4_210 },
        },
      },
    },
    problems: { bad_request: badBody("purgeQueue", { state: "processing" }) },
  },

  listWorkers: {
    description:
      "The workers that sent their name with /work, /lease or /get in the last day, by name. `in_hand` and `tasks` are read " +
      "from the live leases; `done` and `failed` are counted by the brokers since the worker was first seen and are a few " +
      "seconds late. With `queue`, or with a token that is bound to queues, only workers, queues and tasks of these queues are " +
      "shown. If the answer has a `next`, repeat the call with it as `cursor`.",
    query: { queue: "mail", limit: 100 },
    answers: {
      200: {
        description: "A page of workers.",
        examples: {
          page: { workers: [WORKER] },
          "with a next page": {
            workers: [{ ...WORKER, state: "draining", draining_since: NOW - 5_000 }],
            next: "host-1",
          },
        },
      },
    },
  },

  drainWorker: {
    description:
      "The worker learns of the drain from the answer to its current or next request, from any broker, and gets no more " +
      "tasks. The drain applies to all workers that now have this name: a worker that starts under it later with another " +
      "`instance` is not drained. Safe to repeat. The body is not read. A token that is bound to queues may drain only " +
      "workers that poll nothing but these queues.",
    answers: {
      200: {
        description: "The worker is draining.",
        examples: { draining: { status: "draining", worker: "host-1", draining_since: NOW } },
      },
    },
    advice: NO_WORKER,
  },

  undrainWorker: {
    description:
      "Use it for a worker that sends no `instance` and starts again under its name, or that was drained by mistake and still " +
      "polls. Safe to repeat, even if the worker is not draining.",
    answers: {
      200: {
        description: "The worker is not draining.",
        examples: { ended: { status: "drain_ended", worker: "host-1" } },
      },
    },
    advice: NO_WORKER,
  },
}
