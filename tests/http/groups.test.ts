/** Groups over HTTP: settings, limits of one group, pausing, filters, and what bad input is told. */
import { describe, expect, test } from "bun:test"
import { ServedQueue } from "../support/served-queue.ts"

const ask = (q: ServedQueue, method: string, path: string, body?: unknown) => q.ask(method, path, body)

describe("groups", () => {
  test("a group is shown with the task, in lists, and in its own view", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit({ group: "a/b c?=}é😀" })
    const other = await q.submit({ group: "b" })
    const path = `/queues/${q.queue}/groups/${encodeURIComponent("a/b c?=}é😀")}`
    expect((await ask(q, "GET", path)).body).toEqual({
      queue: q.queue,
      group: "a/b c?=}é😀",
      waiting: 1,
      processing: 0,
      oldest_waiting_ms: expect.any(Number),
    })
    const [task] = await q.lease()
    expect(task).toMatchObject({ id, group: "a/b c?=}é😀" })
    expect((await ask(q, "GET", path)).body).toMatchObject({ waiting: 0, processing: 1 })
    expect((await ask(q, "GET", `/status/${other}`)).body.group).toBe("b")
    const list = async (query: string) =>
      (await ask(q, "GET", `/tasks?queue=${q.queue}&${query}`)).body.tasks.map(
        (task: { id: string }) => task.id,
      )
    expect(await list("state=queued")).toEqual([other])
    expect(await list("state=queued&group=b")).toEqual([other])
    expect(await list("state=queued&group=c")).toEqual([])
    expect(await list(`state=processing&group=${encodeURIComponent("a/b c?=}é😀")}`)).toEqual([id])
    const groups = (await ask(q, "GET", `/queues/${q.queue}/groups`)).body.groups
    expect(groups.map((view: { group: string }) => view.group)).toEqual(["b", "a/b c?=}é😀"])
    expect((await ask(q, "GET", `/queues/${q.queue}`)).body.depth).toMatchObject({ queued: 1, processing: 1 })
  })

  test("settings hold for every group, and what differs for one is merged", async () => {
    await using q = await ServedQueue.open()
    const groups = {
      concurrency: 1,
      rate: [{ limit: 9, per_ms: 60_000, burst: 3 }, { per_second: 5 }],
      max_waiting: 2,
    }
    const set = await ask(q, "PUT", `/queues/${q.queue}/settings`, {
      groups,
      rate: { limit: 500, per_ms: 1_000 },
    })
    expect(set.body.settings).toEqual({
      rate: { limit: 500, per_ms: 1_000, burst: 500 },
      groups: {
        ...groups,
        rate: [
          { limit: 9, per_ms: 60_000, burst: 3 },
          { limit: 5, per_ms: 1_000, burst: 5 },
        ],
      },
    })
    await q.submit({ group: "a" })
    const second = await q.submit({ group: "a" })
    const full = await ask(q, "POST", "/submit", { type: "t", queue: q.queue, group: "a" })
    expect(full).toMatchObject({ status: 429, body: { code: "group_full" } })
    await q.submit({ group: "b" })
    const [first] = await q.lease()
    expect((await q.lease()).map(task => task.group)).toEqual(["b"])
    expect(await q.lease()).toEqual([])
    const why = (await ask(q, "GET", `/why/${second}`)).body
    expect(why).toMatchObject({ cause: "group_limited", group: "a", blocked_by: [first!.id] })
    const view = (await ask(q, "GET", `/queues/${q.queue}/groups`)).body.groups[0]
    expect(view).toMatchObject({ group: "a", held: { cause: "concurrency", task_ids: [first!.id] } })
    const own = await ask(q, "PUT", `/queues/${q.queue}/groups/a`, { concurrency: 2 })
    expect(own.body.limits).toEqual({ concurrency: 2 })
    expect((await q.lease()).map(task => task.id)).toEqual([second])
    const removed = await ask(q, "DELETE", `/queues/${q.queue}/groups/a`)
    expect(removed.body.limits).toBeUndefined()
    expect((await ask(q, "PUT", `/queues/${q.queue}/settings`, {})).body.settings).toEqual({})
  })

  test("pausing a group stops only that group, with the reason in /why", async () => {
    await using q = await ServedQueue.open()
    const id = await q.submit({ group: "a" })
    await q.submit({ group: "b" })
    const paused = await ask(q, "POST", `/queues/${q.queue}/groups/a/pause`, { reason: "moving" })
    expect(paused.body).toMatchObject({ held: { cause: "paused" }, pause_reason: "moving" })
    expect((await q.lease(9)).map(task => task.group)).toEqual(["b"])
    const why = (await ask(q, "GET", `/why/${id}`)).body
    expect(why).toMatchObject({ cause: "group_paused", pause_reason: "moving" })
    await ask(q, "POST", `/queues/${q.queue}/groups/a/resume`)
    expect((await q.lease()).map(task => task.id)).toEqual([id])
  })

  test("hold_group_ms keeps the tasks of a group back, and /why says until when", async () => {
    await using q = await ServedQueue.open()
    await q.submit({ group: "a" })
    const second = await q.submit({ group: "a" })
    const [task] = await q.lease()
    const ack = { task_id: task!.id, lease: task!.lease, status: "released", hold_group_ms: 60_000 }
    expect((await ask(q, "POST", "/ack", ack)).body.status).toBe("released")
    expect(await q.lease()).toEqual([])
    const why = (await ask(q, "GET", `/why/${second}`)).body
    expect(why.cause).toBe("group_held")
    expect(why.held_until_at - Date.now()).toBeWithin(30_000, 90_000)
  })

  test("pages of groups list each group once, the largest backlog first", async () => {
    await using q = await ServedQueue.open()
    for (const [i, group] of ["x", "y", "z", "w", "v"].entries())
      for (let n = 0; n <= i; n++) await q.submit({ group, priority: n % 2 ? 9 : 5 })
    await ask(q, "PUT", `/queues/${q.queue}/groups/only-limits`, { concurrency: 1 })
    for (let n = 0; n < 2; n++) await q.submit({ group: "running", priority: 9 })
    await q.lease(9)
    for (const limit of [1, 2, 100]) {
      const seen: string[] = []
      let cursor = ""
      do {
        const query = `limit=${limit}${cursor && `&cursor=${cursor}`}`
        const { groups, next } = (await ask(q, "GET", `/queues/${q.queue}/groups?${query}`)).body
        for (const { group } of groups) seen.push(group)
        cursor = next ?? ""
      } while (cursor !== "")
      expect(seen.toSorted()).toEqual(["only-limits", "running", "v", "w", "x", "y", "z"])
    }
  })

  test.each([
    [150, "all in one batch of Redis"],
    [1_000, "in many batches of Redis"],
  ])(
    "pages of %i groups with one task each, and of these tasks, have their length and miss none",
    async count => {
      await using q = await ServedQueue.open()
      const tasks = Array.from({ length: count }, (_, i) => ({
        type: "t",
        queue: q.queue,
        group: `tenant ${i}`,
      }))
      const answers = (await ask(q, "POST", "/submit", tasks)).body
      const most = { groups: 40, tasks: 40 }
      const seen = { groups: [] as string[], tasks: [] as string[] }
      const pages = { groups: `/queues/${q.queue}/groups?`, tasks: `/tasks?queue=${q.queue}&state=queued&` }
      for (const part of ["groups", "tasks"] as const) {
        let cursor = ""
        do {
          const query = `limit=${most[part]}${cursor && `&cursor=${cursor}`}`
          const { [part]: found, next } = (await ask(q, "GET", pages[part] + query)).body
          expect(found.length).toBeLessThanOrEqual(most[part])
          for (const { group, id } of found) seen[part].push(part === "groups" ? group : id)
          cursor = next ?? ""
        } while (cursor !== "")
      }
      expect(seen.groups.toSorted()).toEqual(tasks.map(({ group }) => group).toSorted())
      const ids = answers.map((answer: { task_id: string }) => answer.task_id)
      expect(seen.tasks.toSorted()).toEqual(ids.toSorted())
    },
  )

  test("pages of groups and of their tasks have what stays, while other groups leave", async () => {
    await using q = await ServedQueue.open()
    const tasks = Array.from({ length: 1_000 }, (_, i) => ({
      type: "t",
      queue: q.queue,
      group: `tenant ${i}`,
    }))
    const groupOf = new Map<string, string>()
    for (const [i, { task_id }] of (await ask(q, "POST", "/submit", tasks)).body.entries())
      groupOf.set(task_id, tasks[i]!.group)
    const staying = new Map(groupOf)
    const seen = { groups: new Set<string>(), tasks: new Set<string>() }
    const pages = { groups: `/queues/${q.queue}/groups?`, tasks: `/tasks?queue=${q.queue}&state=queued&` }
    for (const part of ["groups", "tasks"] as const) {
      let cursor = ""
      do {
        const query = `limit=40${cursor && `&cursor=${cursor}`}`
        const { [part]: found, next } = (await ask(q, "GET", pages[part] + query)).body
        expect(found.length).toBeLessThanOrEqual(40)
        for (const { group, id } of found) seen[part].add(part === "groups" ? group : groupOf.get(id))
        for (const { id } of await q.lease(10)) staying.delete(id)
        cursor = next ?? ""
      } while (cursor !== "")
    }
    expect(staying.size).toBeGreaterThan(100)
    for (const part of ["groups", "tasks"] as const)
      expect([...staying.values()].filter(group => !seen[part].has(group))).toEqual([])
  })

  test.each([
    ["POST", "/submit", { type: "t", group: "" }, "group"],
    ["POST", "/submit", { type: "t", group: "a\nb" }, "group"],
    ["POST", "/submit", { type: "t", group: ".." }, "group"],
    ["POST", "/submit", { type: "t", group: "x".repeat(129) }, "group"],
    ["POST", "/submit", { type: "t", group: "\ud800" }, "group"],
    ["POST", "/submit", { type: "t", group: 7 }, "group"],
    ["PUT", "/queues/q/settings", { rate: { limit: 5 } }, "rate"],
    ["PUT", "/queues/q/settings", { rate: [] }, "rate"],
    ["PUT", "/queues/q/settings", { rate: [{ limit: 5, per_ms: 0 }] }, "rate.0.per_ms"],
    ["PUT", "/queues/q/settings", { rate: { per_second: 0 } }, "rate.per_second"],
    ["PUT", "/queues/q/settings", { rate: { per_second: 5, limit: 5 } }, "rate.per_second"],
    ["PUT", "/queues/q/settings", { rate: 5 }, "rate"],
    ["PUT", "/queues/q/settings", { groups: { concurrency: 0 } }, "groups.concurrency"],
    ["PUT", "/queues/q/settings", { groups: { rate: { per_ms: 5 } } }, "groups.rate"],
    ["PUT", "/queues/q/settings", { groups: { order: "fifo" } }, "groups.order"],
    ["PUT", "/queues/q/groups/a", { on_dead: "block", order: "any" }, "on_dead"],
    ["PUT", "/queues/q/groups/a", { concurency: 1 }, "concurency"],
    ["PUT", `/queues/q/groups/${"x".repeat(129)}`, {}, "group"],
    ["PUT", "/queues/q/groups/a%0Ab", {}, "group"],
    ["GET", "/queues/q/groups?cursor=!", undefined, "cursor"],
    ["GET", "/queues/q/groups?cursor=eHh4", undefined, "cursor"],
    ["POST", "/ack", { task_id: "a", status: "done", hold_group_ms: 5 }, "hold_group_ms"],
  ])("%s %s with %j is refused, and the answer names the member", async (method, path, body, field) => {
    await using q = await ServedQueue.open()
    expect(await ask(q, method, path, body)).toMatchObject({ status: 400, body: { field } })
  })
})
