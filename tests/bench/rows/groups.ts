/** What groups cost, and what they give: the whole life of grouped tasks, and the wait of a small tenant among large ones. */
import { Client } from "../../../lib/client.ts"
import { TOKEN } from "../../support/harness.ts"
import { wholeLife } from "../contender.ts"
import { Ours } from "../contenders/ours.ts"
import { lifeLine, under } from "../lines.ts"
import { alternate } from "../rounds.ts"
import type { Line, Row } from "../row.ts"
import { withAof } from "../settings.ts"
import { quantile } from "../statistics.ts"

const redis = withAof("everysec")

/** How many slices of each kind a round has: beside other work, the ratio of two slices varies by a factor of two. */
const SLICES_PER_ROUND = 3

export const groups: Row = {
  name: "groups",
  title:
    "whole life, 100 per request, of tasks in 1 and in 10,000 groups, against tasks without a group; everysec",
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const counts = [0, 1, 10_000]
    const each: Ours[] = []
    for (const groups of counts) {
      const name =
        groups === 0
          ? "ours, no groups"
          : `ours, ${groups.toLocaleString("en-US")} group${groups === 1 ? "" : "s"}`
      each.push(stack.use(await Ours.start({ redis, name, groups })))
    }
    const load = { tasks: run.quick ? 10_000 : 40_000, perRequest: 100, lanes: 4 }
    const turns = each.map(ours => ({ name: ours.name, slice: () => wholeLife(ours, load) }))
    const rounds = run.quick ? run.rounds : run.rounds * SLICES_PER_ROUND
    const slices = await alternate({ ...run, rounds }, turns)
    const [plain, ...grouped] = turns.map(turn => lifeLine(slices, turn))
    return [plain!, ...grouped.map(line => under(plain!, line, 0.7))]
  },
}

const TENANTS = 1_000
/** The backlog of tenant k is this many tasks divided by k, and at least one: a Zipf distribution. */
const LARGEST = 20_000
const PER_LEASE = 20
const SAMPLES = 40

/** How long the only task of a tenant waits while a worker works: as a group among others, or in a queue of its own. */
export const fairness: Row = {
  name: "fairness",
  title: `${TENANTS} tenants with Zipf-distributed backlogs: wait of a task of a small tenant, p99`,
  async measure(run) {
    await using stack = new AsyncDisposableStack()
    const ours = stack.use(await Ours.start({ redis, name: "ours" }))
    const client = new Client({ url: ours.broker.url, token: TOKEN })
    const task = (tenant: number, group: boolean) => ({
      type: "mail",
      queue: group ? "groups" : "plain",
      payload: {},
      ...(group ? { group: `tenant-${tenant}` } : {}),
    })
    for (const grouped of [true, false]) {
      run.progress(`preparing ${grouped ? "groups" : "one queue without groups"}`)
      let batch: ReturnType<typeof task>[] = []
      for (let tenant = 1; tenant <= TENANTS; tenant++)
        for (let left = Math.max(1, Math.floor(LARGEST / tenant)); left > 0; left--) {
          batch.push(task(tenant, grouped))
          if (batch.length === 1_000) await client.submitMany(batch.splice(0))
        }
      if (batch.length > 0) await client.submitMany(batch)
      batch = []
    }
    const samples = run.quick ? SAMPLES / 4 : SAMPLES
    /** Submits one task, and leases and acks tasks until it is leased. Returns how many ms that took. */
    const waitOf = async (queue: string, group?: string): Promise<number> => {
      const begin = performance.now()
      const { task_id: id } = await client.submit({ type: "mail", queue, ...(group ? { group } : {}) })
      for (;;) {
        const { tasks } = await client.lease({ queues: [queue], max: PER_LEASE })
        const found = tasks.some(task => task.id === id)
        if (tasks.length > 0) await client.ackMany(tasks.map(({ id, lease }) => ({ task_id: id, lease })))
        if (found) return performance.now() - begin
      }
    }
    const measure = async (name: string, wait: (i: number) => Promise<number>): Promise<Line> => {
      const values: number[] = []
      for (let round = 0; round < run.rounds; round++) {
        run.progress(`${name}, round ${round + 1}`)
        const waits: number[] = []
        for (let i = 0; i < samples; i++) waits.push(await wait(round * samples + i))
        values.push(quantile(waits, 0.99))
      }
      return { contender: name, unit: "ms", values }
    }
    const alone = await measure("a queue of its own", i => waitOf(`alone-${i}`))
    const grouped = await measure("a group among 1,000", i => waitOf("groups", `small-${i}`))
    const lines = {
      of: "a group among 1,000 ÷ a queue of its own",
      values: grouped.values.map((value, i) => value / alone.values[i]!),
    }
    const plain = await waitOf("plain")
    return [
      alone,
      { ...grouped, ratio: lines },
      { contender: "the same queue without groups, one sample", unit: "ms", values: [plain] },
    ]
  },
}
