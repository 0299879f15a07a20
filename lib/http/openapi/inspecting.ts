/** Prose and examples of the routes that show tasks. */
import { badQuery, DEAD, DONE, ID, type Json, NEXT, NOW, type ProseOf, RUNNING } from "./prose.ts"

/** A parameter whose name is free: the members of an object in `form` style appear in the query by their own names. */
const LABELS: Json = {
  name: "meta.*",
  in: "query",
  description: "`meta.<name>=<value>`, any number of times: only tasks that have all of these labels",
  style: "form",
  explode: true,
  schema: { type: "object", additionalProperties: { type: "string", maxLength: 128 } },
  example: { "meta.team": "mail" },
}

export const inspecting: ProseOf<"inspecting"> = {
  getTask: {
    description:
      "Everything known about the task: its result, its last error, the progress and log that its worker sent, and its last " +
      "attempts. done and cancelled are final; dead is final unless the task is retried. With `wait_ms`, the broker answers " +
      "when the task has ended, or after that time with the current state of the task.",
    query: { wait_ms: 0 },
    answers: { 200: { description: "The task.", examples: { done: DONE, processing: RUNNING, dead: DEAD } } },
    advice: { 410: "The task was submitted under this `task_id` and has been deleted since. Stop asking." },
  },

  whyTask: {
    description:
      "One sentence for people, and a `cause` for programs. ended; delayed: it is ready at `due_at`; backing_off: its retry " +
      "is ready at `due_at`; running: on `worker`; cancelling; waiting: `ahead` tasks go first; paused: its queue is paused; " +
      "limited: by the settings of its queue; no_workers: no worker has polled its queue in the last minute; group_limited, " +
      "group_rate, group_order, group_paused and group_held: its group is at a limit, in strict order, paused, or held by a worker.",
    answers: {
      200: {
        description: "The reason.",
        examples: {
          waiting: {
            task_id: ID,
            state: "queued",
            cause: "waiting",
            ahead: 2,
            polled_at: NOW,
            why: "It is ready and waits for a worker: 2 tasks go first.",
          },
          "no workers": {
            task_id: ID,
            state: "queued",
            cause: "no_workers",
            ahead: 0,
            why: "It is ready, but no worker has ever polled this queue.",
          },
          delayed: {
            task_id: ID,
            state: "scheduled",
            cause: "delayed",
            due_at: NOW + 60_000,
            why: "It is scheduled and will be ready in 60.0 s.",
          },
        },
      },
    },
    advice: { 410: "The task was submitted under this `task_id` and has been deleted since." },
  },

  listTasks: {
    description:
      "Lists tasks in one state or in all, filtered by the other members of the query that are given. `id` finds a task by a part of " +
      "its id, and `text` looks for a text in the payloads and errors of one queue. One call checks a bounded number of " +
      "tasks, so a page can be short or even empty and still have a `next`: repeat the call with it as `cursor` until there " +
      "is none. A task that changes its state between two calls may be missed, or appear on two pages.",
    query: { state: "queued", queue: "default", type: "echo", limit: 100 },
    parameters: [LABELS],
    answers: {
      200: {
        description: "A page of tasks.",
        examples: { page: { tasks: [RUNNING] }, "empty, with a next page": { tasks: [], next: NEXT } },
      },
    },
    problems: { bad_request: badQuery("listTasks", "") },
  },
}
