/**
 * Deliberate bugs in scripts, broker and worker, of which a run has one at a time. Each replaces one or more texts in a
 * file while it is loaded (preload.ts), so the product needs no switches. At least one of the checks in `signs` must find
 * the bug. A text that does not occur exactly once in its file ends the process and the run: when a file is rewritten, the
 * texts of its bugs must be adapted.
 */
import type { Check } from "../checker.ts"

export interface Bug {
  name: string
  file: string
  edits: [find: string, replace: string][]
  /** "keys": checkQueue fails. "drain": a queue never becomes empty. "keys left": keys remain after all tasks are deleted.
   * "schedule": a planned time has no task or two.
   * "unserved": while a master is down, the queues of another are not served. */
  signs: (Check | "keys" | "drain" | "keys left" | "schedule" | "unserved")[]
  /** Restricts the faults to those whose names start with this, if only they reveal the bug. */
  shownBy?: string
  /** Runs with a Cluster without replicas. */
  inCluster?: boolean
}

export const BUGS: Bug[] = [
  {
    name: "an ack's lease is not compared",
    file: "lib/lua/settle.lua",
    edits: [
      ['local held = PROCESSING .. " " .. lease .. " "', 'local held = PROCESSING .. " "'],
      ['(lease == "" or lease == t.lease)', "true"],
    ],
    signs: ["old lease"],
  },
  {
    name: "a lease is missing in the index of leases",
    file: "lib/lua/lease.lua",
    edits: [["leased, deadlines = values_in(joined, leases), {}", "leased, deadlines = {}, {}"]],
    signs: ["lost"],
  },
  {
    name: "a lease lapses earlier than its holder was promised",
    file: "lib/lua/lease.lua",
    edits: [
      ["int(lapse_time(policy, policy.timeout, now))", "int(lapse_time(policy, policy.timeout, now) - 400)"],
    ],
    signs: ["two leases"],
  },
  {
    name: "the attempt counter restarts with each lease",
    file: "lib/lua/lease.lua",
    edits: [['local attempt = lease == "0" and "1" or int(attempt_of(lease) + 1)', 'local attempt = "1"']],
    signs: ["attempts"],
  },
  {
    name: "a lapsed lease is not counted",
    file: "lib/lua/moves.lua",
    edits: [
      [
        'requeue_or_mark_dead(t, policy, {\n          counter = "crashes",',
        't.uncounted = 0\n        requeue_or_mark_dead(t, policy, {\n          counter = "uncounted",',
      ],
    ],
    signs: ["over budget", "counts", "drain"],
  },
  {
    name: "a released task is dropped",
    file: "lib/lua/settle.lua",
    edits: [
      [
        'requeue_or_mark_dead(t, policy, {\n      counter = "releases",',
        'save(t)\n    local _ = ({\n      counter = "releases",',
      ],
    ],
    signs: ["lost"],
  },
  {
    name: "the fast path of an ack leaves the lease in place",
    file: "lib/lua/settle.lua",
    edits: [
      [
        'if policy.result_ttl < 0 then\n      completed_ids[#completed_ids + 1] = t.id\n    else\n      join(done, now + policy.result_ttl, t.id)\n    end\n    finish(t, "done")',
        "join(leases, now, t.id)",
      ],
    ],
    signs: ["after its end", "doubled"],
  },
  {
    name: "a dead task is missing in the dead-letter queue",
    file: "lib/lua/moves.lua",
    edits: [["  join(dead, now, t.id)\n", ""]],
    signs: ["one state", "keys"],
  },
  {
    name: "an idempotency key is not remembered",
    file: "lib/lua/create.lua",
    edits: [
      [
        'redis.call("SET", record .. options.key, options.print',
        'redis.call("SET", record .. "x" .. options.key, options.print',
      ],
    ],
    signs: ["made twice", "unexpected"],
  },
  {
    name: "a cancel of a waiting task is answered but not done",
    file: "lib/lua/moves.lua",
    edits: [["    leave(due, id)\n    leave(expiring, id)\n    end_cancelled(t, retention)\n", ""]],
    signs: ["after its end"],
  },
  {
    name: "a task is leased after it has expired",
    file: "lib/lua/record.lua",
    edits: [
      ["    expires = tonumber(expires) or 0, -- no attempt starts after this time\n", "    expires = 0,\n"],
    ],
    signs: ["after its end"],
  },
  {
    name: "a large payload outlives its task",
    file: "lib/lua/deletion.lua",
    edits: [
      ["    keys[#keys + 1] = payload .. id\n  end\n", "  end\n"],
      ["      keys[#keys + 1] = payload .. id\n    end\n", "    end\n"],
    ],
    signs: ["keys", "keys left"],
  },
  {
    name: "a submit is answered before it is written",
    file: "lib/queue/create-tasks.ts",
    edits: [
      [
        "const answers = await submits.runByQueue(items, item => item.task.queue)",
        `submits.runByQueue(items, item => item.task.queue).catch(() => {})
  const answers = items.map(({ localId, task }) => [task.when === undefined ? "queued" : "scheduled", localId, clock.now()] as const)`,
      ],
    ],
    signs: ["lost"],
  },
  {
    name: "the broker repeats a submit whose reply was lost, under a new id",
    file: "lib/queue/create-tasks.ts",
    edits: [
      [
        "const answers = await submits.runByQueue(items, item => item.task.queue)",
        `const answers = await submits.runByQueue(items, item => item.task.queue).catch(async error => {
    for (const item of items) if (item.task.idempotency === undefined) item.localId = newLocalId(clock.now())
    await Bun.sleep(300)
    return submits.runByQueue(items, item => item.task.queue)
  })`,
      ],
    ],
    signs: ["made twice"],
    shownBy: "broker-redis ",
  },
  {
    name: "tasks of a lease call whose reply was lost are not returned",
    file: "lib/queue/leaser.ts",
    edits: [
      [
        "if (error instanceof Refused && !(error instanceof NotReplicated)) lost.remember(queue, tokens)\n    else if",
        "if",
      ],
    ],
    signs: ["charged"],
    shownBy: "broker-redis dropReply",
  },
  {
    name: "a run of a schedule is not compared with what the broker has read",
    file: "lib/lua/schedule-fire.lua",
    edits: [['if found == version and (planned_at == "" or plan == planned_at) then', "if found then"]],
    signs: ["schedule"],
  },
  {
    name: "the next time of a schedule is computed from now",
    file: "lib/task/planned-runs.ts",
    edits: [["let next = following(recurrence, planned)", "let next = following(recurrence, now)"]],
    signs: ["schedule"],
  },
  {
    name: "an event has the time of its publication",
    file: "lib/observe/event-writer.ts",
    edits: [["const data = { at, queue,", "const data = { queue,"]],
    signs: ["event order"],
  },
  {
    name: "the order of events ignores the attempt",
    file: "lib/wire/events.ts",
    edits: [["attempt * 10 + RANKS[event]", "RANKS[event]"]],
    signs: ["event order"],
  },
  {
    name: "a poll ends at the first queue that cannot be read",
    file: "lib/queue/long-poll.ts",
    edits: [
      [
        "if (waiter.failed.size === waiter.demand.queues.length) waiter.end(error)",
        "if (error) waiter.end(error)",
      ],
    ],
    signs: ["unserved"],
    shownBy: "master ",
    inCluster: true,
  },
  {
    name: "the ages of dead tasks count by the clock of the broker",
    file: "lib/queue/filter.ts",
    edits: [["const age = now - (task.finishedAt", "const age = Date.now() - (task.finishedAt"]],
    signs: ["lost"],
  },
  {
    name: "a slot of a group is not freed",
    file: "lib/lua/settle.lua",
    edits: [["  if group then of_groups[at + 1], of_groups[at + 2] = group, id end\n", ""]],
    signs: ["keys", "drain"],
  },
  {
    name: "a late ack frees the slot of a group again",
    file: "lib/lua/settle.lua",
    edits: [
      [
        'code = code or (lease == "" and "not_leased" or "lease_lost")',
        'code = code or (lease == "" and "not_leased" or "lease_lost")\n    local group = read_policy(t.policy).group\n    if group then open_groups().leave(group, t.id) end',
      ],
    ],
    signs: ["group limit", "group order"],
  },
  {
    name: "a turn of a group is lost",
    file: "lib/lua/groups.lua",
    edits: [['return "=" .. hand.name', "return nil"]],
    signs: ["drain", "keys"],
  },
  {
    name: "a turn of a group is doubled",
    file: "lib/lua/groups.lua",
    edits: [
      [
        'return "=" .. hand.name',
        'redis.call("RPUSH", ready .. priority, "=" .. hand.name)\n      return "=" .. hand.name',
      ],
    ],
    signs: ["keys"],
  },
  {
    name: "the worker acks before it runs",
    file: "lib/worker/task-runner.ts",
    edits: [
      [
        "    const { task, signal } = lease\n    const { handlers, log, name, spans } = this.#options\n",
        '    const { task, signal } = lease\n    const { handlers, log, name, spans } = this.#options\n    this.#finish(lease, { status: "done" })\n    await new Promise(resolve => setTimeout(resolve, 20))\n',
      ],
    ],
    signs: ["not run"],
  },
  {
    name: "the worker reports a failed task as done",
    file: "lib/worker/conversation.ts",
    edits: [
      [
        "this.#pendingAcks.push({ ack: { task_id: id, lease: token, ...outcome }, lease })",
        'this.#pendingAcks.push({ ack: { task_id: id, lease: token, ...outcome, status: "done", error: undefined }, lease })',
      ],
    ],
    signs: ["not run"],
  },
]
