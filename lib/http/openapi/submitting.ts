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
          "The queue default is full: as many tasks wait as MAX_QUEUE_DEPTH=100000 allows. The task was not stored. Retry when workers have finished some tasks.",
      },
      group_full: {
        detail:
          'The group "acme" of the queue default is full: as many of its tasks wait as its max_waiting allows. The task was not stored. Retry when workers have finished some of them.',
      },
    },
    advice: {
      409: "A task with this `task_id` exists, and the broker no longer knows with what body it was submitted. No task was created.",
      422: "This key or this `task_id` was used for a different body. No task was created.",
    },
  },

  cancelTask: {
    description:
      "A waiting task, also one that waits for a retry, ends at once. A running task is marked: its worker learns of it from " +
      "its next extend, and however the attempt ends, the task is then cancelled. Safe to repeat. The body is not read.",
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
}
