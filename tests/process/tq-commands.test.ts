/** Each command of `bun run tq` for operators, run against a broker. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { Redis } from "ioredis"
import { hashOf } from "../../lib/config/tokens.ts"
import { COMMANDS } from "../../lib/process/tq-commands.ts"
import { readMembers, withMembers } from "../../lib/process/tq-members.ts"
import { keyOf } from "../../lib/redis/keys.ts"
import { until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"
import { run, scene } from "../support/tq.ts"

setDefaultTimeout(180_000)

test("settings of a queue are changed member by member, and the others stay", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  const attention = { dead: "off" as const }
  await client.setQueue(queue, { defaults: { max_retries: 2, timeout_ms: 60_000 }, attention })
  const set = (...members: string[]) => tq("queues", "set", queue, ...members)
  expect(await set("concurrency=5", "rate=20/s", "defaults.timeout_ms=5m")).toMatchObject({
    code: 0,
  })
  expect((await client.queue(queue)).settings).toEqual({
    defaults: { max_retries: 2, timeout_ms: 300_000 },
    attention,
    concurrency: 5,
    rate: { limit: 20, per_ms: 1_000, burst: 20 },
  })
  const changed = await set("defaults.max_retries=", "attention.dead=", "rate=100/1m")
  expect(changed.out).toStartWith(`The settings of queue ${queue} are {`)
  expect((await client.queue(queue)).settings).toEqual({
    defaults: { timeout_ms: 300_000 },
    concurrency: 5,
    rate: { limit: 100, per_ms: 60_000, burst: 100 },
  })
  const wrong = await set("concurency=5")
  expect([wrong.code, wrong.error]).toEqual([1, expect.stringContaining("concurrency")])
  const shown = (await tq("queues", "get", queue)).out
  expect(shown).toMatch(/^settings +\{.*"defaults":\{"timeout_ms":300000\}/m)
  expect(shown).toMatch(/^depth +\{"queued":0,/m)
})

test("members are set and removed by their path, whatever their name", () => {
  const set = (...members: string[]) =>
    JSON.stringify(withMembers({ a: { b: 1, c: [1] }, n: 1 }, readMembers(members)))
  expect(set("a.b=2", "n=")).toBe('{"a":{"c":[1],"b":2}}')
  expect(set("a.b=", "a.c=", "n=")).toBe("{}")
  expect(set("a=x=y", "n=true", "s=hello", 't="5"')).toBe('{"a":"x=y","n":true,"s":"hello","t":"5"}')
  expect(set("a=1", "n=12345678901234567890")).toBe('{"a":1,"n":12345678901234567890}')
  expect(set("a=", "n=", "every_ms=1.5m", "off_ms=off", "from_at=2027-01-31T08:00:00Z", "to_at=1")).toBe(
    '{"every_ms":90000,"off_ms":"off","from_at":1801382400000,"to_at":1}',
  )
  expect(set("a=", "n=", "__proto__.x=1", "constructor=2")).toBe('{"__proto__":{"x":1},"constructor":2}')
  expect(set("a=", "n=", "rate=20/s")).toBe('{"rate":{"limit":20,"per_ms":1000}}')
  expect(set("a=", "n=", "groups.rate=100/5m")).toBe('{"groups":{"rate":{"limit":100,"per_ms":300000}}}')
})

test("groups are listed, shown, limited, paused and resumed", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  await client.pauseQueue(queue)
  const group = "a tenant/é"
  await client.submitMany([1, 2].map(() => ({ type: "add", payload: [1], queue, group })))
  expect((await tq("groups", queue)).out).toMatch(new RegExp(`^${group} +2 +0 .* -$`, "m"))
  const limits = await tq("groups", "set", queue, group, "concurrency=2", "rate=5/s")
  expect(limits.out).toBe(
    `The limits of group ${group} are {"concurrency":2,"rate":{"limit":5,"per_ms":1000}}\n`,
  )
  expect((await tq("groups", "set", queue, group, "rate=")).code).toBe(0)
  expect((await client.group(queue, group)).limits).toEqual({ concurrency: 2 })
  expect((await tq("groups", "set", queue, group, "concurrency=")).code).toBe(0)
  expect((await client.group(queue, group)).limits).toBeUndefined()
  expect((await tq("groups", "pause", queue, group, "--reason", "no money")).out).toBe(
    `Group ${group} of queue ${queue} is paused\n`,
  )
  expect((await tq("groups", "get", queue, group)).out).toMatch(/^pause_reason +no money$/m)
  expect((await tq("groups", "resume", queue, group)).code).toBe(0)
  expect((await client.group(queue, group)).held).toBeUndefined()
  expect((await tq("groups", `${queue}-none`)).out).toBe("This queue has no groups.\n")
})

test("schedules are created, changed member by member, paused, run and deleted", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  await client.pauseQueue(queue)
  const id = `${queue}:daily`
  const set = (...members: string[]) => tq("schedules", "set", id, ...members)
  const payload = '{"id":12345678901234567890}'
  const first = await set(
    "cron=0 7 * * mon-fri",
    "time_zone=Europe/Berlin",
    "task.type=add",
    `task.payload=${payload}`,
  )
  expect([first.code, first.out]).toEqual([
    0,
    expect.stringMatching(new RegExp(`^${id} is set; it runs next at 20`)),
  ])
  expect((await set("cron=30 6 * * *", "jitter_ms=1m")).code).toBe(0)
  expect(await client.schedule(id)).toMatchObject({
    cron: "30 6 * * *",
    time_zone: "Europe/Berlin",
    jitter_ms: 60_000,
    task: { type: "add" },
  })
  expect((await set("jitter_ms=60000")).out).toStartWith(`${id} is unchanged; `)
  expect((await set("every_ms=150m")).code).toBe(0) // instead of the expression
  const { cron, time_zone, every_ms } = await client.schedule(id)
  expect([cron, time_zone, every_ms]).toEqual([undefined, undefined, 9_000_000])
  expect((await tq("schedules", "--queue", queue)).out).toContain(" every 150m ")
  expect((await tq("schedules", "get", id)).out).toMatch(/^next +20\S+Z\n( +20\S+Z\n){4}fired/m)
  expect((await set("cron=30 6 * * *", "time_zone=Europe/Berlin")).code).toBe(0)
  expect((await tq("schedules", "get", id)).out).toContain(payload)
  expect((await tq("schedules", "--queue", queue)).out).toMatch(
    new RegExp(`^${id} +30 6 \\* \\* \\* Europe/Berlin +20\\S+ +- +0 +0 +0 +add$`, "m"),
  )
  expect((await tq("schedules", "--part", `${queue}:DAI`)).out).toContain(id)
  expect((await tq("schedules", "--part", `${queue}:x`)).out).toBe("No schedules.\n")
  expect((await tq("schedules", "pause", id, "--reason", "a move")).out).toBe(`${id} is paused\n`)
  expect((await client.schedule(id)).pause_reason).toBe("a move")
  expect((await tq("schedules", "resume", id)).out).toStartWith(`${id} is resumed; it runs next at 20`)
  const keyed = () => tq("schedules", "run", id, "--key", `key-${queue}`)
  const { out } = await keyed()
  expect(await keyed()).toEqual({ code: 0, out, error: "" })
  expect((await set("on_overlap=skip")).code).toBe(0)
  expect((await tq("schedules", "run", id)).out).toBe(`skipped: ${out.trim()} has not ended\n`)
  expect((await tq("status", out.trim())).out).toContain(payload)
  const wrong = await set("cron=99 * * * *")
  expect([wrong.code, wrong.error]).toEqual([1, expect.stringContaining("cron")])
  expect((await tq("schedules", "delete", id)).out).toBe(`${id} is deleted\n`)
  expect((await tq("schedules", "get", id)).error).toContain("schedule_not_found")
})

test("schedules preview prints the next times, and says what is wrong", async () => {
  await using all = new AsyncDisposableStack()
  const { tq } = await scene(all)
  const times = await tq(
    "schedules",
    "preview",
    "cron=0 7 * * *",
    "time_zone=Europe/Berlin",
    "from_at=2027-06-30T12:00:00Z",
  )
  expect(times.out).toStartWith("2027-07-01T05:00:00.000Z\n2027-07-02T05:00:00.000Z\n")
  expect((await tq("schedules", "preview", "every_ms=1d", "ends_at=2020-01-01")).out).toBe(
    "It will not run.\n",
  )
  const wrong = await tq("schedules", "preview", "every_ms=0.1s")
  expect([wrong.code, wrong.error]).toEqual([1, expect.stringContaining("every_ms")])
})

test("a change of a schedule whose payload is hidden does not lose the payload", async () => {
  await using all = new AsyncDisposableStack()
  const tokens = [
    {
      name: "app",
      roles: ["submit", "read"] as const,
      queues: undefined,
      hash: hashOf("the-secret-token-of-app"),
    },
  ]
  const { queue, client, env, tq } = await scene(all, { tokens })
  const id = `${queue}:s`
  await tq("schedules", "set", id, "every_ms=1h", "task.type=add", "task.redact=true", "task.payload=[1]")
  const app = (...args: string[]) => run({ ...env, API_SECRET_TOKEN: "the-secret-token-of-app" }, args)
  expect(await app("schedules", "set", id, "every_ms=2h")).toEqual({
    code: 2,
    out: "",
    error:
      "tq schedules set: the payload is hidden from this token, so it would be lost: give task.payload. See: bun run tq schedules set --help\n",
  })
  expect(await client.schedule(id)).toMatchObject({ every_ms: 3_600_000, task: { payload: [1] } })
  expect((await app("schedules", "set", id, "every_ms=2h", "task.payload=[2]")).code).toBe(0)
  expect(await client.schedule(id)).toMatchObject({
    every_ms: 7_200_000,
    task: { payload: [2], redact: true },
  })
})

test("bulk operations start, are counted, listed, shown and stopped", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  await client.pauseQueue(queue)
  const submit = (type: string, more: object = {}) => client.submit({ type, payload: [1], queue, ...more })
  for (const type of ["mail", "mail", "push"]) await submit(type, { delay_ms: 3_600_000 })
  const filter = ["--queue", queue, "--type-part", "mai"]
  expect((await tq("bulk", "cancel", ...filter, "--dry-run")).out).toBe("2 tasks would be changed\n")
  expect(
    JSON.parse((await tq("bulk", "cancel", ...filter, "--dry-run", "--limit", "1", "--json")).out),
  ).toEqual({
    matching: 1,
  })
  const keyed = () => tq("bulk", "start-now", ...filter, "--state", "scheduled", "--key", `key-${queue}`)
  const { out } = await keyed()
  expect(await keyed()).toEqual({ code: 0, out, error: "" })
  const id = out.trim()
  const shown = await tq("bulk", "get", id, "--wait")
  expect([shown.code, shown.out]).toEqual([0, expect.stringMatching(/^state +finished$/m)])
  expect(shown.out).toMatch(/^done +2$/m)
  expect((await client.queue(queue)).depth).toMatchObject({ queued: 2, delayed: 1 })
  expect((await tq("bulk")).out).toMatch(new RegExp(`^${id} +start_now +finished +2 \\(`, "m"))
  expect((await tq("bulk", "stop", id)).out).toBe(`${id} had ended\n`)
  const cancelled = await tq("bulk", "cancel", "--queue", queue, "--state", "any", "--wait", "--json")
  expect(JSON.parse(cancelled.out)).toMatchObject({ state: "finished", progress: { done: 3 } })
  expect(
    (await tq("bulk", "again", "--queue", queue, "--state", "cancelled", "--type", "push", "--wait")).code,
  ).toBe(0)
  expect((await client.queue(queue)).depth.cancelled).toBe(3)
  expect((await client.tasks({ state: "queued", queue })).tasks).toMatchObject([{ type: "push" }])
  expect((await tq("bulk", "purge", "--queue", queue, "--state", "cancelled", "--wait")).code).toBe(0)
  expect((await client.queue(queue)).depth).toMatchObject({ cancelled: 0 })
  expect((await tq("bulk", "get", "none")).error).toContain("bulk_not_found")
})

test("tasks are listed by state and text, changed, started, submitted again and deleted", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  const submit = await tq(
    "submit",
    "add",
    "[12345678901234567890]",
    "--queue",
    queue,
    "--delay",
    "1h",
    "--meta",
    "a=b",
  )
  const id = submit.out.trim()
  const list = (...args: string[]) => tq("tasks", "--queue", queue, ...args)
  for (const filter of [
    [],
    ["--state", "scheduled"],
    ["--type", "add"],
    ["--id", id.slice(-6)],
    ["--meta", "a=b"],
  ])
    expect((await list(...filter)).out).toMatch(new RegExp(`^${id} +scheduled +\\S+ +add +0$`, "m"))
  expect((await list("--text", "no such text")).out).toBe("No task matches.\n")
  expect((await list("--json")).out).toContain("[12345678901234567890]")
  expect((await tq("change", id, "priority=9", "payload=[1,2]", "meta.day=monday", "delay_ms=2h")).out).toBe(
    `${id} is changed\n`,
  )
  expect(await client.status(id)).toMatchObject({ priority: 9, payload: [1, 2], meta: { day: "monday" } })
  expect((await tq("change", id, "priority=10")).error).toContain("priority")
  await tq("change", id, 'payload={"to":"a","cc":"b"}', 'meta={"team":"mail","env":"prod"}')
  await tq("change", id, "payload.to=x", "payload.at_ms=5m", "meta.team=1", "meta.env=")
  expect(await client.status(id)).toMatchObject({
    payload: { to: "x", cc: "b", at_ms: "5m" },
    meta: { team: "1" },
  })
  expect((await client.status(id)).meta).toEqual({ team: "1" })
  await tq("change", id, "meta=")
  expect((await client.status(id)).meta).toBeUndefined()
  expect(await tq("change", id, "priority=")).toMatchObject({
    code: 2,
    error: expect.stringContaining("cannot be removed"),
  })
  await tq("change", id, "payload=[1,2]")
  expect((await tq("change", id, "delay_ms=0")).code).toBe(0)
  expect(await tq("wait", id)).toEqual({ code: 0, out: "3\n", error: "" })
  const again = (await tq("again", id, "[4,5]", "--key", `key-${queue}`)).out.trim()
  expect((await tq("again", id, "[4,5]", "--key", `key-${queue}`)).out.trim()).toBe(again)
  expect((await tq("wait", again)).out).toBe("9\n")
  expect((await tq("delete", again)).out).toBe(`${again} is deleted\n`)
  expect((await tq("status", again)).code).toBe(1)
})

test("redact hides the contents of a task", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  const id = (await tq("submit", "add", "[1]", "--queue", queue, "--redact")).out.trim()
  expect(await client.status(id)).toMatchObject({ redact: true })
})

test("a submit whose answer is lost is repeated, and creates one task", async () => {
  await using all = new AsyncDisposableStack()
  const { broker, queue, client, env } = await scene(all)
  await client.pauseQueue(queue)
  let requests = 0
  await using proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const { pathname } = new URL(request.url)
      const { method, headers } = request
      const answer = await fetch(broker.url + pathname, { method, headers, body: await request.text() })
      return ++requests === 1 ? new Response("the proxy has lost it", { status: 502 }) : answer
    },
  })
  const lossy = { ...env, BROKER_URL: `http://127.0.0.1:${proxy.port}` }
  const submitted = await run(lossy, ["submit", "add", "[1]", "--queue", queue])
  expect([submitted.code, requests]).toEqual([0, 2])
  expect(submitted.error).toMatch(/^tq submit: .*\(502 unknown\).*\. Trying again\n$/)
  expect((await client.tasks({ state: "queued", queue })).tasks.map(({ id }) => `${id}\n`)).toEqual([
    submitted.out,
  ])
  requests = 0
  const named = await run(lossy, ["submit", "add", "[1]", "--queue", queue, "--id", "mine"])
  expect([named.code, named.out, requests]).toEqual([0, `${queue}:mine\n`, 2])
  requests = 0
  const once = await run(lossy, ["submit", "add", "[1]", "--queue", queue, "--retry-for", "0s"])
  expect([once.code, once.out, requests]).toEqual([1, "", 1])
  await proxy.stop(true)
})

test("workers are listed and drained, and the drain is withdrawn", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  // A worker of its own: a drained TaskRunner would stop.
  const worker = `hand-${queue}`
  await client.lease({ queues: [queue], worker })
  await until("it is listed", async () => (await client.workers({ worker })).workers.length === 1)
  expect((await tq("workers", "--worker", worker)).out).toMatch(
    new RegExp(`^${worker} +live +0 of \\? .* ${queue}$`, "m"),
  )
  expect((await tq("workers", "drain", worker)).out).toBe(`${worker} is draining\n`)
  expect((await tq("workers", "--queue", queue, "--state", "draining")).out).toContain(worker)
  expect((await tq("workers", "drain", worker, "--undo")).out).toBe(`The drain of ${worker} is cancelled\n`)
  expect((await tq("workers", "--queue", queue, "--worker", worker, "--state", "draining")).out).toBe(
    "No worker matches.\n",
  )
})

test("attention lists what is wrong, and makes the exit code 1 on request", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  const alone = `${queue}-alone`
  await client.setQueue(alone, { attention: { idle_poll_ms: 1 } })
  await client.submit({ type: "add", queue: alone })
  await until("it is seen", async () => (await client.queue(alone)).attention.length > 0)
  const { code, out } = await tq("attention")
  expect([code, out]).toEqual([
    0,
    expect.stringMatching(new RegExp(`^${alone} +no_workers +\\S+ +.*worker`, "m")),
  ])
  expect(await tq("attention", "--check")).toMatchObject({
    code: 1,
    error: "tq attention: queues need attention\n",
  })
  expect((await tq("queues", "get", alone)).out).toMatch(/^no_workers: /m)
  await client.purgeQueue(alone, { state: "queued" })
})

test("history, actions, brokers and the audit are shown", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  await client.submit({ type: "add", payload: [1], queue })
  await tq("pause", queue, "--reason", "a move")
  await until("the task is recorded", async () => (await client.history({ queue })).total.submitted === 1)
  expect((await tq("mark", `deploy ${queue}`)).out).toEndWith(` is marked: deploy ${queue}\n`)
  expect((await tq("history")).out).toContain(`Z deploy ${queue} (`)
  const history = (await tq("history", "--queue", queue, "--last", "2h", "--step", "1h")).out.split("\n")
  expect(history[0]).toMatch(
    /^FROM \(UTC\) +SUBMITTED +DONE +FAILED +LAPSED +DEAD +MOST QUEUED +WAIT P95 +RUN P50 +RUN P95$/,
  )
  expect(history.filter(line => /^TOTAL +1 /.test(line))).toHaveLength(1)
  expect((await tq("history", "--queue", queue, "--types")).out).toMatch(/^add +1 /m)
  expect((await tq("history", "--queue", `${queue}-none`, "--last", "40d")).error).toContain("30 days")
  expect((await tq("actions", "--queue", queue)).out).toMatch(
    new RegExp(`^20\\S+ +\\S+ +pauseQueue +${queue} +.*a move`, "m"),
  )
  expect((await tq("brokers")).out).toContain(` ${process.pid} `)
  const audit = await tq("audit", "--queue", queue)
  expect(audit).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^Everything is consistent: 1 tasks of 1 queues/),
  })
  const redis = new Redis((await sharedRedis()).socket)
  all.defer(() => void redis.disconnect())
  await redis.zadd(keyOf(queue, "done"), 9e12, "nobody")
  const found = await tq("audit", "--queue", queue)
  expect(found).toMatchObject({ code: 1, error: "tq audit: the data is inconsistent\n" })
  expect(found.out).toMatch(/^stray_entry +1 +0 +/m)
  expect((await tq("audit", "--queue", queue, "--fix")).out).toMatch(/^stray_entry +1 +1 +/m)
  expect((await tq("audit", "--queue", queue)).code).toBe(0)
})

test("every command for operators is run by a test", async () => {
  const tests = await Promise.all(
    ["tq.test.ts", "tq-commands.test.ts"].map(file => Bun.file(`${import.meta.dir}/${file}`).text()),
  )
  // A call is `tq("bulk", "retry", …)`, and may be wrapped.
  const text = tests.join("").replaceAll(/\s+/g, " ")
  for (const name of Object.keys(COMMANDS)) {
    const words = name.split(" ").map(word => JSON.stringify(word))
    if (name === "tail") continue // It does not end by itself.
    expect([name, new RegExp(`(tq|app)\\( ?${words.join(", ")}`).test(text)]).toEqual([name, true])
  }
})

test("groups of dead tasks are those of all pages", async () => {
  const group = (fingerprint: string, count: number, first_at: number) => ({
    fingerprint,
    type: "mail",
    reason: "failed",
    count,
    first_at,
    last_at: first_at + 1_000,
    sample: { task_id: "a" },
  })
  const pages: Record<string, object> = {
    first: { groups: [group("common", 1_000, 5_000)], next: "second" },
    second: { groups: [], next: "third" },
    third: { groups: [group("rare", 5, 9_000), group("common", 100, 2_000)] },
  }
  using server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => Response.json(pages[new URL(url).searchParams.get("cursor") ?? "first"]),
  })
  const env = { BROKER_URL: `http://127.0.0.1:${server.port}`, API_SECRET_TOKEN: "the-secret-token" }
  const { out } = await run(env, ["dead", "groups", "--json"])
  expect(JSON.parse(out)).toEqual({
    groups: [{ ...group("common", 1_100, 2_000), last_at: 6_000 }, group("rare", 5, 9_000)],
  })
})
