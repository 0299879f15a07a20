/**
 * Deliberate bugs, one at a time: in scripts, in the broker and in the worker. Each is a piece of a file that is
 * replaced as the file is loaded (preload.ts), so the product has no switches for it. `signs` are the checks of
 * which at least one must find it. Where a file is rewritten its bugs need new pieces: a piece that does not stand
 * there exactly once ends the process, and the run with it.
 */
import type { Check } from "../checker.ts"

export interface Bug {
  name: string
  file: string
  find: string
  replace: string
  /** "keys" is checkQueue, "drain" a queue that is never empty, "keys left" what stays when all is forgotten. */
  signs: (Check | "keys" | "drain" | "keys left")[]
}

export const BUGS: Bug[] = [
  {
    name: "an ack's lease is not compared",
    file: "lib/lua/settle.lua",
    find: '(lease == "" or lease == fields.lease)',
    replace: "true",
    signs: ["old lease"],
  },
  {
    name: "a lease is not put among those that lapse",
    file: "lib/lua/lease.lua",
    find: "      join(leases, deadline, id)\n",
    replace: "",
    signs: ["lost"],
  },
  {
    name: "a lease lapses before the time that its holder was told",
    file: "lib/lua/lease.lua",
    find: "join(leases, deadline, id)",
    replace: "join(leases, deadline - 400, id)",
    signs: ["two leases"],
  },
  {
    name: "attempts begin anew with each lease",
    file: "lib/lua/lease.lua",
    find: 'local attempt = tonumber(string.match(lease or "0", "^%d+")) + 1',
    replace: "local attempt = 1",
    signs: ["attempts"],
  },
  {
    name: "a lapsed lease is not charged",
    file: "lib/lua/prelude.lua",
    find: 'counter = "crashes",',
    replace: 'counter = "uncounted",',
    signs: ["over budget", "counts", "drain"],
  },
  {
    name: "a task that is given back is dropped",
    file: "lib/lua/settle.lua",
    find: 'retry_or_bury(id, fields, policy, fault, "settled", settled("released", 0), "history", history)',
    replace: 'redis.call("HSET", task .. id, "settled", settled("released", 0))',
    signs: ["lost"],
  },
  {
    name: "a dead task is not put into the dead-letter queue",
    file: "lib/lua/prelude.lua",
    find: "  join(dead, now, id)\n",
    replace: "",
    signs: ["one state", "keys"],
  },
  {
    name: "an idempotency key is not remembered",
    file: "lib/lua/submit.lua",
    find: 'redis.call("SET", record .. rare.key,',
    replace: 'redis.call("SET", record .. "x" .. rare.key,',
    signs: ["made twice", "unexpected"],
  },
  {
    name: "a waiting task is cancelled by word only",
    file: "lib/lua/cancel.lua",
    find: "    leave(due, id)\n    leave(expiring, id)\n    end_cancelled(id, fields, retention)\n",
    replace: "",
    signs: ["after its end"],
  },
  {
    name: "a large payload outlives its task",
    file: "lib/lua/sweep.lua",
    find: "keys[#keys + 1] = payload .. id\n",
    replace: "keys[#keys + 1] = task .. id\n",
    signs: ["keys", "keys left"],
  },
  {
    name: "a submit is answered before it is written",
    file: "lib/queue.ts",
    find: "const answers = await this.#byQueue(items, item => item.task.queue, this.#submits)",
    replace: `this.#byQueue(items, item => item.task.queue, this.#submits).catch(() => {})
    const answers = items.map(({ local, task }) => [task.when === "0" ? "queued" : "scheduled", local] as const)`,
    signs: ["lost"],
  },
  {
    name: "the broker repeats a submit whose reply was lost, under a new id",
    file: "lib/queue.ts",
    find: "const answers = await this.#byQueue(items, item => item.task.queue, this.#submits)",
    replace: `const answers = await this.#byQueue(items, item => item.task.queue, this.#submits).catch(async error => {
      for (const item of items) if (item.task.idempotency === undefined) item.local = newLocalId()
      await Bun.sleep(300)
      return this.#byQueue(items, item => item.task.queue, this.#submits)
    })`,
    signs: ["made twice"],
  },
  {
    name: "the worker acks before it runs",
    file: "worker.ts",
    find: "    const { task, signal } = lease\n    const { handlers, log } = this.#options\n",
    replace:
      '    const { task, signal } = lease\n    const { handlers, log } = this.#options\n    this.#finish(lease, { status: "done" })\n    await new Promise(resolve => setTimeout(resolve, 20))\n',
    signs: ["not run"],
  },
  {
    name: "the worker says done of what has failed",
    file: "lib/worker/session.ts",
    find: "this.#leaving.push({ ack: { task_id: id, lease: token, ...outcome }, lease })",
    replace:
      'this.#leaving.push({ ack: { task_id: id, lease: token, ...outcome, status: "done", error: undefined }, lease })',
    signs: ["not run"],
  },
]
