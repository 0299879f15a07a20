/** GET /tasks: filters, pages and states. */
import { describe, expect, test } from "bun:test"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { ServedQueue } from "../support/served-queue.ts"

describe("tasks", () => {
  /** The tasks of all pages of a listing, and the number of pages. */
  async function pages(q: ServedQueue, query: string) {
    const ids: string[] = []
    let pages = 0
    let cursor = ""
    do {
      const { status, body } = await q.ask("GET", `/tasks?queue=${q.queue}&${query}${cursor}`)
      expect(status).toBe(200)
      ids.push(...body.tasks.map(({ id }: TaskView) => id))
      cursor = body.next === undefined ? "" : `&cursor=${body.next}`
      pages++
    } while (cursor !== "" && pages < 1_000)
    return { ids, pages }
  }

  test("pages with filters are bounded, and together find all matches among thousands of tasks", async () => {
    await using q = await ServedQueue.open()
    const item = (i: number) => ({
      type: i % 2 ? "odd" : "even",
      queue: q.queue,
      meta: i % 700 === 699 ? { rare: "yes", n: String(i) } : { n: String(i) },
    })
    const ids: string[] = []
    for (let from = 0; from < 2_500; from += 500) {
      const { body } = await q.ask(
        "POST",
        "/submit",
        Array.from({ length: 500 }, (_, i) => item(from + i)),
      )
      ids.push(...body.map(({ task_id }: { task_id: string }) => task_id))
    }
    const rare = [699, 1_399, 2_099].map(i => ids[i]!)
    expect((await pages(q, "state=queued&meta.rare=yes")).ids).toEqual(rare)
    expect((await pages(q, "state=queued&meta.rare=yes&meta.n=1399")).ids).toEqual([ids[1_399]!])
    expect((await pages(q, "state=queued&meta.rare=no")).ids).toEqual([])
    const odd = await pages(q, "state=queued&type=odd&limit=400")
    expect(odd.ids).toEqual(ids.filter((_, i) => i % 2 === 1))
    const all = await pages(q, "state=queued&limit=1000")
    expect([all.ids, all.pages]).toEqual([ids, 3])
    const leased = (await q.lease(1_000)).map(({ id }) => id)
    expect((await pages(q, "state=processing&limit=300")).ids.sort()).toEqual(leased.sort())
    expect((await pages(q, "state=processing&limit=7&meta.rare=yes")).ids).toEqual([rare[0]!])
  })

  test("list queued tasks behind many cancelled ones", async () => {
    await using q = await ServedQueue.open()
    const gone = [await q.submit(), await q.submit(), await q.submit()]
    const stays = [await q.submit(), await q.submit()]
    for (const id of gone) await q.cancel(id)
    expect((await pages(q, "state=queued&limit=1")).ids).toEqual(stays)
    expect((await pages(q, "state=queued&limit=100")).ids).toEqual(stays)
    expect((await pages(q, "state=queued&limit=1&type=t")).ids).toEqual(stays)
    expect((await pages(q, "state=cancelled&limit=2")).ids.sort()).toEqual(gone.sort())
    expect((await q.why(stays[0]!)).state).toBe("queued")
  })

  test("list each state, and refuse an invalid state, cursor or filter", async () => {
    await using q = await ServedQueue.open()
    const scheduled = await q.submit({ delay_ms: 60_000 })
    const retrying = await q.leased()
    await q.ack(retrying, { status: "failed", retry_in_ms: 60_000 })
    const dead = await q.dead()
    const done = await q.leased()
    await q.ack(done)
    const cancelled = await q.submit()
    await q.cancel(cancelled)
    const processing = await q.leased()
    const queued = await q.submit()
    const expected = {
      scheduled,
      retrying: retrying.id,
      dead,
      done: done.id,
      cancelled,
      processing: processing.id,
      queued,
    }
    for (const [state, id] of Object.entries(expected))
      expect((await pages(q, `state=${state}`)).ids).toEqual([id])
    for (const query of [
      "",
      "?state=asleep",
      "?state=queued&cursor=xyz",
      "?state=queued&nope=1",
      "?state=queued&limit=0",
    ])
      expect((await q.ask("GET", `/tasks${query}`)).status).toBe(400)
  })
})
