/** Prose and examples of the requests that change many tasks by a filter. */
import { FILTER, NEXT, PAGED, type ProseOf } from "./prose.ts"

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
}
