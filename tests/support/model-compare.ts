/** The comparison of a queue in Redis with the model. */
import { deepStrictEqual } from "node:assert"
import { encodeState, firstLineOf } from "../../lib/task/schedule.ts"
import type { DirectQueue } from "./harness.ts"
import { bytesHeld, bytesRecorded, contradictionsOf, dump, sorted } from "./invariants.ts"
import { hasEnded, type Model } from "./model.ts"

/** Checks the invariants of the keys, and compares tasks, unique keys and ready lists with the model. */
export async function compare(
  model: Model,
  real: { direct: DirectQueue; queue: string },
  after: string,
): Promise<void> {
  const keys = await dump(real.direct.redis, real.queue)
  deepStrictEqual(contradictionsOf(keys), [], `${after}: contradictions of the layout`)
  const content = sorted(keys)
  const { tasks, payloads, unique, ready } = content
  deepStrictEqual(bytesRecorded(keys) ?? 0, bytesHeld(content), `${after}: the recorded bytes`)
  const actual = Object.fromEntries(
    [...tasks].map(([id, fields]) => [
      id,
      {
        state: fields.state,
        retries: Number(fields.retries),
        crashes: Number(fields.crashes),
        releases: Number(fields.releases),
        attempt: Number.parseInt(fields.lease ?? "0", 10),
        lease: fields.lease ?? "",
        reason: fields.reason,
        cancel: fields.cancel !== undefined,
        checkpoint: fields.checkpoint ?? "",
        members: fields.extra ?? "",
        type: JSON.parse(fields.type!),
        payload: fields.payload ?? payloads.get(id),
        redact: fields.redact !== undefined,
        policy: fields.policy!.split(" ").slice(0, 3).map(Number),
        hasTtl: Number(fields.policy!.split(" ")[6] ?? -1) > 0,
        result: fields.result,
      },
    ]),
  )
  const expectedTasks = Object.fromEntries(
    [...model.tasks].map(([id, task]) => {
      const {
        state,
        retries,
        crashes,
        releases,
        attempt,
        lease,
        reason,
        cancel,
        checkpoint,
        members,
        redact,
        hasTtl,
        type,
        payload,
        result,
      } = task
      const policy = [task.priority, task.maxRetries, task.maxCrashes]
      const counters = { retries, crashes, releases, attempt }
      const texts = { checkpoint, members, redact, type, payload, policy, hasTtl, result }
      return [id, { state, ...counters, lease, reason, cancel, ...texts }]
    }),
  )
  deepStrictEqual(actual, expectedTasks, `${after}: the tasks`)
  const owners = [...model.tasks.values()].filter(task => task.unique !== "" && !hasEnded(task))
  deepStrictEqual(
    Object.fromEntries([...unique].sort()),
    Object.fromEntries(owners.map(({ unique: key, id }) => [key, id] as const).sort()),
    `${after}: the unique keys`,
  )
  const lists = [...model.ready].filter(([, list]) => list.length > 0)
  deepStrictEqual(Object.fromEntries(ready), Object.fromEntries(lists), `${after}: the ready lists`)
  const schedules = Object.entries((keys.schedules ?? {}) as Record<string, string>)
  deepStrictEqual(
    Object.fromEntries(schedules.map(([name, text]) => [name, firstLineOf(text)])),
    Object.fromEntries([...model.schedules.all].map(([name, schedule]) => [name, encodeState(schedule)])),
    `${after}: the schedules`,
  )
  const { groups } = model
  deepStrictEqual(
    Object.fromEntries(content.lists),
    Object.fromEntries(groups.lists),
    `${after}: the groups' lists`,
  )
  deepStrictEqual([...content.held].sort(), [...groups.held].sort(), `${after}: the held turns`)
}
