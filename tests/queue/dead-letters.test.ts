import { describe, expect, test } from "bun:test"
import { freshName, testBroker } from "../support/harness.ts"
import { answered, type Body, post, submitted } from "../support/requests.ts"
import { ServedQueue } from "../support/served-queue.ts"

describe("a retry of a dead task", () => {
  test("is refused while another task holds the unique key, and takes the key again when it is free", async () => {
    await using q = await ServedQueue.open()
    const id = await q.dead({ unique_key: "k" })
    const other = await q.leased({ unique_key: "k" })
    const { status, body } = await q.ask("POST", `/dlq/retry/${id}`)
    expect([status, body.code]).toEqual([409, "key_taken"])
    expect((await q.task(id)).status).toBe("dead")
    await q.ack(other)
    expect((await q.ask("POST", `/dlq/retry/${id}`)).body.status).toBe("requeued_from_dlq")
    const { body: again } = await q.ask("POST", "/submit", { type: "t", queue: q.queue, unique_key: "k" })
    expect(again).toMatchObject({ duplicate: true, task_id: id })
  })

  test("replaces the payload exactly as sent, or keeps it if the body has none or is not JSON", async () => {
    await using q = await ServedQueue.open()
    const id = await q.dead({ payload: { to: "ada" } })
    const edited = `{"payload": {"to": "grace", "n": 12345678901234567890}}`
    expect((await q.ask("POST", `/dlq/retry/${id}`, edited)).status).toBe(200)
    expect(await (await q.broker.call("GET", `/status/${id}`)).text()).toContain(
      `"payload":{"to": "grace", "n": 12345678901234567890}`,
    )
    await q.ask("POST", `/cancel/${id}`) // or it would be leased before the next
    for (const [body, type] of [
      [undefined, "application/json"],
      ["anything", "text/plain"],
      ["{}", "application/json"],
    ] as const) {
      const other = await q.dead({ payload: { to: "ada" } })
      const headers = { "content-type": type }
      expect((await q.broker.call("POST", `/dlq/retry/${other}`, body, { headers })).status).toBe(200)
      expect(await q.task(other)).toMatchObject({ status: "queued", payload: { to: "ada" } })
      await q.ask("POST", `/cancel/${other}`)
    }
    const kept = await q.dead({ payload: { to: "ada" } })
    for (const body of ["{", { paylod: 1 }, [{ payload: 1 }]])
      expect((await q.ask("POST", `/dlq/retry/${kept}`, body)).status).toBe(400)
    expect(await q.task(kept)).toMatchObject({ status: "dead", payload: { to: "ada" } })
  })

  test("removes the expiry of an expired task, and resets the budgets of a crashed one", async () => {
    await using q = await ServedQueue.open()
    const expired = await q.submit({ expires_in_ms: 60_000 })
    await q.expire(expired)
    await q.direct.sweep()
    expect((await q.task(expired)).reason).toBe("expired")
    expect((await q.ask("POST", `/dlq/retry/${expired}`)).status).toBe(200)
    const [task] = await q.lease()
    expect(task).toMatchObject({ id: expired, attempt: 1 })
    await q.ack(task!)
    const crashed = await q.leased({ max_crashes: 0 })
    await q.crash(crashed.id)
    await q.ask("POST", `/dlq/retry/${crashed.id}`)
    expect(await q.task(crashed.id)).toMatchObject({ status: "queued", crashes: 0, retries: 0, attempt: 1 })
    expect((await q.ack(crashed)).body.code).toBe("lease_lost")
    expect((await q.lease())[0]).toMatchObject({ id: crashed.id, attempt: 2 })
  })
})

test("dead tasks are listed, grouped, retried and purged by parts of the names of their queues and types", async () => {
  await using broker = await testBroker()
  const [mail, other] = [`${freshName()}-Mail`, freshName()]
  const dead = async (queue: string, type: string) => {
    await answered(post(broker, "/submit", { type, queue, max_retries: 0 }))
    const { tasks } = (await answered(post(broker, "/lease", { queues: [queue] }))) as {
      tasks: { id: string; lease: string }[]
    }
    const { id, lease } = tasks[0]!
    await answered(post(broker, "/ack", { task_id: id, lease, status: "failed", error: "no" }))
    return id
  }
  const [welcome, invoice] = [await dead(mail, "email.Welcome"), await dead(mail, "invoice")]
  const elsewhere = await dead(other, "email.welcome")
  const part = mail.slice(2).toLowerCase()
  const ids = async (query: string) => {
    const { tasks } = (await answered(broker.call("GET", `/dlq?limit=1000&${query}`))) as {
      tasks: { id: string }[]
    }
    return tasks.map(({ id }) => id).sort()
  }
  expect(await ids(`queue_part=${part}`)).toEqual([welcome, invoice].sort())
  expect(await ids(`queue_part=${part}&type_part=WELC`)).toEqual([welcome])
  expect(await ids(`queue=${other}&type_part=welcome`)).toEqual([elsewhere])
  expect(await ids(`queue=${other}&queue_part=${part}`)).toEqual([])
  const { groups } = (await answered(
    broker.call("GET", `/dlq/groups?queue_part=${part}&type_part=mail`),
  )) as Body
  expect(groups).toMatchObject([{ type: "email.Welcome", count: 1 }])
  const request = { queue_part: part, type_part: "welcome", dry_run: true }
  expect(await answered(post(broker, "/dlq/retry", request))).toMatchObject({ requeued: 1 })
  expect(await answered(post(broker, "/dlq/purge", { queue_part: part }))).toMatchObject({ purged: 2 })
  expect(await ids(`queue=${other}`)).toEqual([elsewhere])
})

test("pages of the dead-letter queue continue across queues, and the last one has no next", async () => {
  await using broker = await testBroker()
  const queues = [freshName(), freshName(), freshName()]
  const dead = new Set<string>()
  for (const queue of queues) {
    const answer = await post(broker, "/submit", Array(4).fill({ type: "a", queue, max_retries: 0 }))
    const ids = ((await answer.json()) as { task_id: string }[]).map(({ task_id }) => task_id)
    await post(broker, "/lease", { queues: [queue], max: 4 })
    await post(
      broker,
      "/ack",
      ids.map(task_id => ({ task_id, status: "failed" })),
    )
    for (const id of ids) dead.add(id)
  }
  // A queue without dead tasks, after all others by name.
  await submitted(broker, { type: "a", queue: "zzz" })
  for (const limit of [1, 3, 4, 5, 8, 12, 100]) {
    const seen: string[] = []
    let pages = 0
    for (let cursor = ""; ; ) {
      const page = await answered(broker.call("GET", `/dlq?limit=${limit}${cursor && `&cursor=${cursor}`}`))
      expect(page.dlq_size).toBe(12)
      seen.push(...(page.tasks as Body[]).map(task => task.id as string))
      pages++
      if (page.next === undefined) break
      cursor = page.next as string
    }
    expect([limit, seen.length, new Set(seen).size]).toEqual([limit, 12, 12])
    expect(seen.every(id => dead.has(id))).toBeTrue()
    expect([limit, pages]).toEqual([limit, Math.ceil(12 / limit)])
  }
  const one = await answered(broker.call("GET", `/dlq?queue=${queues[1]}&limit=4`))
  expect(one).toMatchObject({ dlq_size: 4 })
  expect(one.next).toBeUndefined()
})
