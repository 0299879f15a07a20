/** Prose and examples of the routes that submit and cancel tasks. */
import { Refused } from "../../errors.ts"
import { problem } from "../answer.ts"
import { badBody, EACH, ID, type Json, NOW, type ProseOf } from "./prose.ts"

const WITHOUT_TYPE = badBody("submitTasks", { payload: 1 })

const HEADERS: Json[] = [
  {
    name: "Idempotency-Key",
    in: "header",
    description:
      "1 to 200 printable ASCII characters without spaces. A repeated key with the same queue and body gets the first answer again.",
    schema: { type: "string", pattern: '^"?[\\x21\\x23-\\x7e]{1,200}"?$' },
    example: "order-1042-mail",
  },
  ...["traceparent", "tracestate"].map(name => ({
    name,
    in: "header",
    description: "W3C trace context, stored with each task that has none of its own and passed to its worker",
    schema: { type: "string" },
  })),
]
const REPLAYED: Json = {
  "Idempotency-Replayed": {
    description:
      "true if the answer was given before. In the answer to an array, `replayed` says so per item",
    schema: { type: "string", enum: ["true"] },
    example: "true",
  },
}

export const submitting: ProseOf<"submitting"> = {
  submitTasks: {
    description:
      "The task is stored when the broker answers. Keep `task_id` to ask for the task at /status. If no answer arrives, " +
      "repeat the request: with an Idempotency-Key or a `task_id` of your own, the repeat creates no second task; without " +
      `one, it may. ${EACH}`,
    parameters: HEADERS,
    body: {
      one: { type: "echo", payload: { hello: "world" } },
      "with a queue, a priority and a delay": {
        type: "mail",
        payload: { to: "a@example.org" },
        queue: "mail",
        priority: 9,
        delay_ms: 1_000,
      },
      "at a given time": { type: "report", run_at: NOW + 3_600_000 },
      "with your own id": { type: "invoice", task_id: "order-1042-invoice" },
      "with a unique key": {
        type: "reindex",
        payload: { shop: 7 },
        unique_key: "reindex-7",
        on_duplicate: "replace",
        delay_ms: 5_000,
      },
      "with all limits": {
        type: "import",
        payload: { file: "a.csv" },
        max_retries: 5,
        max_crashes: 1,
        timeout_ms: 60_000,
        max_runtime_ms: 3_600_000,
        expires_in_ms: 86_400_000,
        result_ttl_ms: 600_000,
        backoff: { kind: "exponential", delay_ms: 1_000, max_ms: 60_000, jitter: true },
        meta: { team: "mail" },
        redact: true,
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tracestate: "vendor=1",
      },
      many: [
        { type: "echo", payload: 1 },
        { type: "echo", payload: [2] },
      ],
    },
    answers: {
      200: {
        description:
          "Stored. queued: the task waits for a worker. scheduled: it waits for its time. duplicate: another task holds " +
          "the unique key, and no task was created.",
        headers: REPLAYED,
        examples: {
          one: { status: "queued", task_id: ID },
          "with a delay": { status: "scheduled", task_id: `mail:${ID}` },
          replayed: { status: "queued", task_id: ID, replayed: true },
          duplicate: { status: "duplicate", task_id: ID, duplicate: true },
          "duplicate, replaced": {
            status: "duplicate",
            task_id: ID,
            duplicate: true,
            replaced: true,
          },
          many: [{ status: "queued", task_id: ID }, problem(new Refused("bad_request", WITHOUT_TYPE))],
        },
      },
    },
    problems: {
      bad_request: WITHOUT_TYPE,
      task_exists: { task_id: ID },
      queue_full: {
        detail:
          "The queue default is full: it has as many waiting tasks as MAX_QUEUE_DEPTH=100000 allows. The task was not stored. Retry when workers have finished some tasks.",
      },
      group_full: {
        detail:
          'The group "acme" of the queue default is full: it has as many waiting tasks as its max_waiting allows. The task was not stored. Retry when workers have finished some of them.',
      },
    },
    advice: {
      409: "A task with this `task_id` exists, and the broker no longer knows with what body it was submitted. No task was created.",
      422: "This key or this `task_id` was used for a different body. No task was created.",
    },
  },

  cancelTask: {
    description:
      "A waiting task, including one that waits for a retry, ends at once. A running task is marked: its worker learns of it from " +
      "its next extend, and the task is cancelled however the attempt ends. Safe to repeat. The body is not read.",
    answers: {
      200: {
        description: "The task has ended or will end. To wait for the end, ask /status with `wait_ms`.",
        examples: {
          waiting: { status: "cancelled", task_id: ID },
          running: { status: "cancelling", task_id: ID },
        },
      },
    },
    problems: { already_ended: { task_id: ID, state: "done" } },
    advice: { 409: "The task is already done or dead, as `state` says." },
  },

  changeTask: {
    description:
      "Only a queued, scheduled or retrying task can be changed. Members that the body omits stay unchanged. With another priority a " +
      "queued task goes to the end of its priority. A start time in the past, or `delay_ms: 0`, makes the task ready now; a later " +
      "one delays it, even if it is queued. A new payload removes the checkpoint and the progress of the old one. Safe to " +
      "repeat.",
    body: {
      "run now": { delay_ms: 0 },
      "run later": { run_at: NOW + 3_600_000 },
      "with another payload and priority": { payload: { to: "b@example.org" }, priority: 9 },
      "with other labels": { meta: { team: "mail" } },
    },
    answers: {
      200: {
        description: "The task has the new values. The next attempt gets them.",
        examples: { one: { status: "changed", task_id: ID } },
      },
    },
    problems: {
      bad_request: badBody("changeTask", { priority: 10 }),
      not_waiting: { task_id: ID },
      queue_full: {
        detail:
          "The queue default is full: its tasks hold as many bytes as MAX_QUEUE_BYTES allows. The task was not changed.",
      },
    },
    advice: { 409: "A worker has leased the task, or it has ended: see /status." },
  },

  deleteTask: {
    description:
      "Only a task that is done, dead or cancelled can be deleted; to end one that waits or runs, cancel it. If no answer " +
      "arrives, repeat the request: 404 or 410 then says that the task is deleted.",
    answers: {
      200: {
        description: "The task and its data are deleted.",
        examples: { one: { status: "deleted", task_id: ID } },
      },
    },
    problems: { not_ended: { task_id: ID, state: "processing" } },
    advice: {
      410: "The task was deleted before.",
      409: "The task is waiting or running, as `state` says: cancel it instead.",
    },
  },

  submitAgain: {
    description:
      "Creates a task with the queue, type, payload, limits, backoff, priority, group and labels of a task that is done, dead " +
      "or cancelled; the body may give it another payload and a start time. The new task has no `unique_key` and no schedule, and names the " +
      "original in `again_of`. If no answer arrives, repeat the request with the same Idempotency-Key; without one, the " +
      "repeat creates another task.",
    parameters: HEADERS,
    body: {
      unchanged: {},
      "with another payload": { payload: { to: "b@example.org" } },
      later: { delay_ms: 60_000 },
    },
    answers: {
      200: {
        description: "Stored, as for /submit.",
        headers: REPLAYED,
        examples: {
          one: { status: "queued", task_id: ID, again_of: "01KATR5S3HPZ8C1D6E0F4G" },
          replayed: { status: "queued", task_id: ID, replayed: true, again_of: "01KATR5S3HPZ8C1D6E0F4G" },
        },
      },
    },
    problems: {
      bad_request: badBody("submitAgain", { delay_ms: -1 }),
      not_ended: { task_id: ID, state: "processing" },
      queue_full: {
        detail:
          "The queue default is full: it has as many waiting tasks as MAX_QUEUE_DEPTH=100000 allows. The task was not stored. Retry when workers have finished some tasks.",
      },
      group_full: {
        detail:
          'The group "acme" of the queue default is full: it has as many waiting tasks as its max_waiting allows. The task was not stored. Retry when workers have finished some of them.',
      },
    },
    advice: {
      410: "The task was deleted. Submit it with all members.",
      409: "The task is waiting or running, as `state` says: change it or cancel it instead.",
      422: "This key was used for another task or another body. No task was created.",
    },
  },
}
