/** GET /metrics: what it exports and what it costs; and that Prometheus accepts the page, the alerts and the dashboard. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { readBrokerConfig } from "../../lib/config/config.ts"
import { createLog } from "../../lib/log.ts"
import { Counters, MAX_QUEUES, OTHER } from "../../lib/observe/counters.ts"
import { type Depth, Depths } from "../../lib/observe/depths.ts"
import { Metrics } from "../../lib/observe/metrics.ts"
import { Scripts } from "../../lib/redis/scripts.ts"
import { leaseAgeMs, newTokens } from "../../lib/task/lease-token.ts"
import { DirectQueue, freshName, type TestBroker, testBroker, until } from "../support/harness.ts"
import { onOneConnection, sharedRedis, testRedis } from "../support/redis.ts"

const files = join(import.meta.dir, "../../lib/observe")
const promtool = Bun.which("promtool")

/** Runs promtool. Returns "" if it finds no fault. */
async function check(args: string[], input = ""): Promise<string> {
  const child = Bun.spawn([promtool!, ...args], { stdin: new Blob([input]), stderr: "pipe" })
  const [code, out, errors] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()])
  return code === 0 ? errors : `${code} ${out}${errors}`
}

async function scrape(broker: TestBroker): Promise<string> {
  const answer = await broker.call("GET", "/metrics")
  expect([answer.status, answer.headers.get("content-type")]).toEqual([
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ])
  return answer.text()
}

/** The values of one metric whose labels are of this queue, by the rest of their labels. */
function valuesOf(text: string, name: string, queue: string): Record<string, number> {
  const lines = text
    .split("\n")
    .filter(line => line.startsWith(`${name}{`) && line.includes(`queue="${queue}"`))
  return Object.fromEntries(
    lines.map(line => {
      const [, labels, value] = /\{(.*)\} +(\S+)$/.exec(line)!
      const rest = labels!.split(",").filter(label => !label.startsWith("queue="))
      return [rest.map(label => label.split('"')[1]).join(), value === "+Inf" ? Infinity : Number(value)]
    }),
  )
}

/** The range of times, in seconds since 1970, that are between `most` and `least` seconds ago. */
function ago(most: number, least: number): [from: number, to: number] {
  const now = Date.now() / 1_000
  return [now - most, now - least + 1]
}

/** The faults of a page in Prometheus' text format. */
function faultsOf(text: string): string[] {
  const faults: string[] = []
  const types = new Map<string, string>()
  const seen = new Set<string>()
  for (const line of text.split("\n").filter(line => line !== "")) {
    const [, what, name, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? []
    if (what !== undefined) {
      if (what === "TYPE" && types.has(name!)) faults.push(`twice: ${line}`)
      if (what === "TYPE") types.set(name!, rest!)
      continue
    }
    const [, sample, metric] =
      /^(([a-z_][a-z0-9_]*)(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) +(?:[\d.e+-]+|\+Inf)$/.exec(line) ??
      []
    if (metric === undefined) faults.push(`no sample: ${line}`)
    else if (seen.has(sample!)) faults.push(`twice: ${line}`)
    else {
      seen.add(sample!)
      const base = metric.replace(/_(bucket|sum|count)$/, "")
      const type = types.get(metric) ?? (types.get(base) === "histogram" ? "histogram" : undefined)
      if (type === undefined) faults.push(`no type: ${line}`)
      if ((type === "counter") !== metric.endsWith("_total")) faults.push(`_total is for counters: ${line}`)
    }
  }
  return faults
}

test("task events are counted per queue", async () => {
  const { socket } = await sharedRedis()
  const queue = freshName()
  await using broker = await testBroker({}, socket)
  await using direct = new DirectQueue(socket, queue)
  const submit = (task: object) =>
    broker.call("POST", "/submit", { type: "a", queue, max_retries: 1, ...task })
  const lease = async () => {
    const { tasks } = (await (await broker.call("POST", "/lease", { queues: [queue] })).json()) as {
      tasks: { id: string; lease: string }[]
    }
    return { task_id: tasks[0]!.id, lease: tasks[0]!.lease }
  }
  for (const task of [{}, {}, {}, { delay_ms: 60_000 }, { max_crashes: 0 }]) await submit(task)
  await broker.call("POST", "/ack", await lease())
  await broker.call("POST", "/ack", { ...(await lease()), status: "released" })
  for (let i = 0; i < 3; i++) {
    const held = await lease()
    if (i === 2) break // the last of the three stays leased
    await broker.call("POST", "/ack", { ...held, status: "failed", retry: i === 0 })
  }
  const { task_id } = await lease()
  await direct.lapse(task_id)
  await until(
    "it is dead",
    async () =>
      ((await (await broker.call("GET", `/status/${task_id}`)).json()) as { status: string }).status !==
      "processing",
  )
  const text = await scrape(broker)
  const events = valuesOf(text, "tq_task_events_total", queue)
  expect(events).toMatchObject({ submitted: 5, leased: 6, done: 1, failed: 2, released: 1, lapsed: 1 })
  const tasks = valuesOf(text, "tq_tasks", queue)
  expect(tasks).toMatchObject({ delayed: 1, processing: 1, done: 1, cancelled: 0, dead: events.dead! })
  expect(Object.values(tasks).reduce((sum, count) => sum + count)).toBe(5)
  // Only first leases; and only acks with a lease, without the release.
  expect(valuesOf(text, "tq_task_wait_seconds_count", queue)[""]).toBe(4)
  expect(valuesOf(text, "tq_task_run_seconds_count", queue)[""]).toBe(3)
  expect(valuesOf(text, "tq_task_run_seconds_sum", queue)[""]).toBeWithin(0, 60)
  expect(valuesOf(text, "tq_last_poll_timestamp_seconds", queue)[""]).toBeWithin(...ago(60, 0))
})

test("a task that dies of too many releases is counted and logged as dead", async () => {
  const { socket } = await sharedRedis()
  const queue = freshName()
  const lines: [message: string, fields: object][] = []
  const warn = (message: string, fields: object = {}) => void lines.push([message, fields])
  await using broker = await testBroker({}, socket, { ...createLog("silent"), warn })
  await using direct = new DirectQueue(socket, queue)
  await broker.call("POST", "/submit", { type: "a", queue })
  const { tasks } = (await (await broker.call("POST", "/lease", { queues: [queue] })).json()) as {
    tasks: { id: string; lease: string }[]
  }
  const { id: task_id, lease } = tasks[0]!
  await direct.setField(task_id, "releases", 100)
  await broker.call("POST", "/ack", { task_id, lease, status: "released" })
  expect(valuesOf(await scrape(broker), "tq_task_events_total", queue)).toMatchObject({
    released: 1,
    dead: 1,
  })
  expect(lines).toEqual([["A task is dead", expect.objectContaining({ task_id, queue, reason: "released" })]])
})

test("the age of the oldest waiting task is exported, and that no worker ever polled", async () => {
  const { socket } = await sharedRedis()
  const queue = freshName()
  await using broker = await testBroker({}, socket)
  await using direct = new DirectQueue(socket, queue)
  const ids: string[] = []
  for (const priority of [9, 1, 1]) {
    const answer = await broker.call("POST", "/submit", { type: "a", queue, priority })
    ids.push(((await answer.json()) as { task_id: string }).task_id)
  }
  // The second has waited for a minute. The first has waited longer, but was cancelled.
  await direct.setField(ids[1]!, "created", Date.now() - 60_000)
  await direct.setField(ids[0]!, "created", Date.now() - 600_000)
  await broker.call("POST", `/cancel/${ids[0]}`)
  const text = await scrape(broker)
  expect(valuesOf(text, "tq_oldest_waiting_timestamp_seconds", queue)[""]).toBeWithin(...ago(120, 59))
  expect(valuesOf(text, "tq_last_poll_timestamp_seconds", queue)[""]).toBe(0)
  const waits = broker.call("POST", "/lease", { queues: [freshName(), queue], wait_ms: 1 })
  expect((await waits).status).toBe(200)
})

test("a worker that waits in a long poll counts as polling", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  await broker.call("POST", "/submit", [
    { type: "a", queue: "left", delay_ms: 60_000 },
    { type: "a", queue: "polled", delay_ms: 60_000 },
  ])
  const waits = broker.call("POST", "/lease", { queues: ["polled"], wait_ms: 20_000 })
  await until("it waits", () => broker.queue.waiting === 1)
  for (const queue of ["left", "polled"]) {
    await using direct = new DirectQueue(redis.socket, queue)
    await direct.redis.hset(direct.key("stats"), "polled", 1_000)
  }
  const text = await scrape(broker)
  expect(valuesOf(text, "tq_last_poll_timestamp_seconds", "left")[""]).toBe(1)
  expect(valuesOf(text, "tq_last_poll_timestamp_seconds", "polled")[""]).toBeWithin(...ago(60, 0))
  broker.queue.stopWaiting()
  await waits
})

test("a queue without events has counters at 0, so that its first event is an increase", async () => {
  const counters = new Counters()
  const depths = async () => []
  const metrics = new Metrics({ parts: { counters, control: { depths } }, waiting: 0 }, -1)
  for (const queue of ["first", "second"]) {
    counters.forQueue(queue)
    expect(valuesOf(String(await metrics.page()), "tq_task_events_total", queue)).toMatchObject({ done: 0 })
  }
})

test("the page is valid, also for promtool if it is installed", async () => {
  await using broker = await testBroker()
  const idle = freshName()
  await broker.call("POST", "/submit", { type: "a", queue: freshName() })
  await broker.call("POST", "/submit", { type: "a", queue: idle, delay_ms: 60_000 })
  const text = await scrape(broker)
  expect(valuesOf(text, "tq_oldest_waiting_timestamp_seconds", idle)[""]).toBe(Infinity)
  expect(faultsOf(text)).toEqual([])
  for (const name of [
    "redis_call_seconds_count",
    "group_items_count",
    "sweep_lag_seconds_count",
    "long_polls",
  ])
    expect(text).toContain(`\ntq_${name}`)
  for (const name of [
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "nodejs_eventloop_lag_p99_seconds",
  ])
    expect(text).toContain(`\ntq_${name} `)
  expect(text).toContain("\ntq_redis_up 1\n")
  if (promtool) expect(await check(["check", "metrics"], text)).toBe("")
})

test("the page is written at most once per second, however many scrapes there are", async () => {
  await using broker = await testBroker()
  const { control } = broker.queue.parts
  const { depths } = control
  let reads = 0
  control.depths = () => {
    reads++
    return depths.call(control)
  }
  await Promise.all(Array.from({ length: 20 }, () => scrape(broker)))
  await scrape(broker)
  expect(reads).toBe(1)
})

test("many queues share a call to Redis, and only changed values are written", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  const names = Array.from({ length: 250 }, (_, i) => `queue-${i}`)
  // The same id in every queue: the tasks of different queues must not be confused.
  const tasks = names.map((queue, i) => ({ type: "a", task_id: "one", queue, priority: i % 10 }))
  await broker.call("POST", "/submit", tasks)
  await using direct = new DirectQueue(redis.socket, "queue-7")
  await direct.setField("one", "created", Date.now() - 60_000)
  let calls = 0
  await using counted = new DirectQueue(redis.socket, "queue-7", client => ({
    run: (...call) => {
      calls++
      return onOneConnection(client).run(...call)
    },
  }))
  const one = ({ queue, counts }: Depth) => `${queue} ${counts.join(" ")}`
  const depths = new Depths()
  const together = await depths.read(counted.scripts, names)
  expect([calls, together.map(one)]).toEqual([3, names.map(queue => `${queue} 1 0 0 0 0 0`)])
  // An unchanged answer is not parsed again.
  const again = await depths.read(counted.scripts, names)
  expect(again.every((depth, i) => depth === together[i])).toBe(true)
  // One queue per call, as in a Cluster.
  const onePerCall = new Scripts(onOneConnection(direct.redis), undefined, { oneSlot: false })
  expect(await new Depths().read(onePerCall, names)).toEqual(together)
  const metrics = new Metrics(broker.queue, -1)
  await metrics.page()
  expect(metrics.written).toMatchObject({ tq_tasks: 250, tq_task_events_total: 251, tq_task_wait_seconds: 0 })
  const before = String(await metrics.page())
  await broker.call("POST", "/submit", { type: "a", queue: "queue-3" })
  const after = String(await metrics.page())
  expect(metrics.written).toMatchObject({ tq_tasks: 251, tq_task_events_total: 252, tq_task_wait_seconds: 0 })
  for (const [page, queue, queued] of [
    [before, "queue-3", 1],
    [after, "queue-3", 2],
    [after, "queue-249", 1],
  ] as const) {
    expect(valuesOf(page, "tq_tasks", queue)).toMatchObject({ queued, delayed: 0, processing: 0, done: 0 })
    expect(valuesOf(page, "tq_oldest_waiting_timestamp_seconds", queue)[""]).toBeWithin(...ago(50, 0))
  }
  expect(valuesOf(after, "tq_oldest_waiting_timestamp_seconds", "queue-7")[""]).toBeWithin(...ago(150, 60))
  expect(faultsOf(after)).toEqual([])
})

test("a page of 1,000 queues is written in pieces, so that it blocks nothing for long", async () => {
  const counters = new Counters()
  for (let i = 0; i < 1_000; i++) counters.forQueue(`queue-${i}`).wait.observe(i)
  const depths = async () => []
  const metrics = new Metrics({ parts: { counters, control: { depths } }, waiting: 0 }, -1)
  const page = metrics.page()
  let turns = 0
  let over = false
  void page.then(() => (over = true))
  for (; !over; turns++) await new Promise(resolve => setImmediate(resolve))
  // One turn for each metric that all queues have, and one for the rest.
  expect(turns).toBeGreaterThanOrEqual(7)
})

test("a value is overwritten in place, whether it is longer or shorter than before", async () => {
  const counters = new Counters()
  const control = { depths: async () => depths }
  const queue = { parts: { counters, control }, waiting: 0 }
  const kept = new Metrics(queue, -1)
  const linesOf = (page: Buffer) =>
    String(page)
      .replace(/ +/g, " ")
      .split("\n")
      .filter(line => line.includes('queue="'))
  let depths: Depth[] = []
  for (const round of [1, 3, 1_000, 7, 99_999, 0, 12_345]) {
    const oldestAt = round % 2 === 0 ? Infinity : 1_000 * round
    depths = ["a", "b", ...(round > 5_000 ? ["c"] : [])].map((queue, i) => {
      counters.forQueue(queue).done += round
      counters.forQueue(queue).run.observe(round)
      const counts = [round, i, 0, 10 * round, 0, i * round]
      return { queue, counts, oldestAt, polledAt: i === 0 ? 0 : 1_500 }
    })
    expect(linesOf(await kept.page())).toEqual(linesOf(await new Metrics(queue).page()))
  }
})

test("a page that was sent does not change, and no two pages are written at once", async () => {
  const counters = new Counters()
  const counted = counters.forQueue("a")
  const depths = async () => []
  const metrics = new Metrics({ parts: { counters, control: { depths } }, waiting: 0 }, -1)
  counted.done = 1
  const first = new Response(await metrics.page())
  counted.done = 22
  const [second, third] = await Promise.all([metrics.page(), metrics.page()])
  expect(second).toBe(third)
  expect(valuesOf(await first.text(), "tq_task_events_total", "a")).toMatchObject({ done: 1 })
  expect(valuesOf(String(second), "tq_task_events_total", "a")).toMatchObject({ done: 22 })
})

test("after a page that could not be written, the next one is complete", async () => {
  const counters = new Counters()
  const depths = async () => []
  let waiting = () => 0
  const queue = {
    parts: { counters, control: { depths } },
    get waiting() {
      return waiting()
    },
  }
  const metrics = new Metrics(queue, -1)
  counters.forQueue("a")
  await metrics.page()
  counters.forQueue("b")
  waiting = () => {
    throw new Error("not now")
  }
  await expect(metrics.page()).rejects.toThrow("not now")
  waiting = () => 0
  expect(valuesOf(String(await metrics.page()), "tq_task_events_total", "b")).toMatchObject({ done: 0 })
})

test("tasks of every state and priority are counted, and the oldest ready one is found", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({}, redis.socket)
  await using direct = new DirectQueue(redis.socket, "a")
  const submit = (task: object) => broker.call("POST", "/submit", { type: "a", queue: "a", ...task })
  for (let priority = 0; priority < 10; priority++) await submit({ task_id: `p${priority}`, priority })
  await direct.redis.rpush(`${direct.key("ready")}0`, "left-behind")
  await direct.setField("p7", "created", 5_000)
  await submit({ delay_ms: 60_000 })
  const delayed = (await (await submit({ delay_ms: 60_000 })).json()) as { task_id: string }
  await broker.call("POST", `/cancel/${delayed.task_id}`)
  const leased = await broker.call("POST", "/lease", { queues: ["a"], max: 3 })
  const { tasks } = (await leased.json()) as { tasks: { id: string; lease: string }[] }
  await broker.call("POST", "/ack", { task_id: tasks[0]!.id, lease: tasks[0]!.lease })
  await broker.call("POST", "/ack", {
    task_id: tasks[1]!.id,
    lease: tasks[1]!.lease,
    status: "failed",
    retry: false,
  })
  const [depth] = await broker.queue.parts.control.depths()
  // p9 is done, p8 dead, p7 processing; and one id was left behind p0.
  expect(depth).toMatchObject({ counts: [8, 1, 1, 1, 1, 1] })
  await direct.setField("p2", "created", 7_000)
  expect((await broker.queue.parts.control.depths())[0]).toMatchObject({ oldestAt: 7_000 })
})

test("an invalid queue name in Redis is still a valid label", async () => {
  const name = 'a"} 1\n\\\u202e'
  const counters = new Counters()
  counters.forQueue(name).submitted++
  const depth = { queue: name, counts: [1, 0, 0, 0, 0, 0], oldestAt: 1_000, polledAt: 0 }
  const depths = async () => [depth]
  const text = String(await new Metrics({ parts: { counters, control: { depths } }, waiting: 0 }).page())
  expect(text).toContain('tq_tasks{queue="a\\"} 1?\\\\?",state="queued"} 1\n')
  if (promtool) expect(await check(["check", "metrics"], text)).toBe("")
})

test("while Redis is unreachable, the other metrics are exported", async () => {
  await using redis = await testRedis()
  await using broker = await testBroker({ redisTimeoutMs: 200 }, redis.socket)
  await broker.call("POST", "/submit", { type: "a" })
  await redis[Symbol.asyncDispose]()
  const text = await scrape(broker)
  expect(text).toContain("\ntq_redis_up 0\n")
  expect(text).not.toContain("\ntq_tasks{")
  expect(valuesOf(text, "tq_task_events_total", "default").submitted).toBe(1)
  expect(faultsOf(text)).toEqual([])
})

test("beyond 1,000 queues the rest is counted together, so that a page stays bounded", async () => {
  const counters = new Counters()
  for (let i = 0; i < 5_000; i++) {
    counters.forQueue(`q${i}`).submitted++
    counters.forQueue(`q${i}`).wait.observe(i)
  }
  expect(counters.queues.size).toBe(MAX_QUEUES + 1)
  expect(counters.forQueue(OTHER).submitted).toBe(4_000)
  // Histograms make up most of a page, so only the first 100 queues have their own.
  expect(counters.forQueue("q99").wait.count).toBe(1)
  expect(counters.forQueue("q100").wait).toBe(counters.forQueue(OTHER).wait)
  expect(counters.forQueue(OTHER).wait.count).toBe(4_900)
  const depths = async () => []
  const text = String(await new Metrics({ parts: { counters, control: { depths } }, waiting: 0 }).page())
  expect(text.length).toBeLessThan(1_000_000)
  expect(text.match(/^tq_task_wait_seconds_count/gm)).toHaveLength(101)
  expect(faultsOf(text)).toEqual([])
})

test("/metrics requires a token with the role read that is not bound to queues, unless METRICS_PUBLIC is set", async () => {
  const API_TOKENS = "prom:read:the-token-of-prometheus,one:read@emails:the-token-of-one-queue"
  const { tokens } = readBrokerConfig({ API_TOKENS })
  await using broker = await testBroker({ tokens })
  const status = async (url: string, token?: string) =>
    (await fetch(`${url}/metrics`, { headers: token === undefined ? {} : { "x-api-token": token } })).status
  expect(await status(broker.url)).toBe(401)
  expect(await status(broker.url, "the-token-of-one-queue")).toBe(403)
  expect(await status(broker.url, "the-token-of-prometheus")).toBe(200)
  const { metricsPublic } = readBrokerConfig({ METRICS_PUBLIC: "true" })
  await using open = await testBroker({ tokens, metricsPublic })
  expect(await status(open.url)).toBe(200)
  expect((await fetch(`${open.url}/dlq`)).status).toBe(401)
})

test("a lease token contains its age, up to 6 days, and 17 random characters", () => {
  const now = Date.now()
  const leases = newTokens(300, now).match(/.{22}/g)!
  expect(leases).toHaveLength(300)
  expect(new Set(leases.map(lease => lease.slice(5))).size).toBe(300)
  expect(new Set(leases.map(lease => lease.slice(0, 5))).size).toBe(1)
  for (const age of [0, 1, 30_000, 6 * 86_400_000]) expect(leaseAgeMs(`17.${leases[7]}`, now + age)).toBe(age)
  // The clock of another broker is ahead.
  expect(leaseAgeMs(`1.${leases[0]}`, now - 50)).toBeUndefined()
})

/** The names of our metrics in a file, without the suffixes of histograms. */
const named = (text: string) =>
  new Set([...text.matchAll(/\btq_[a-z0-9_]+/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, "")))

test("alerts, dashboard and README name existing metrics", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  await broker.call("POST", "/submit", { type: "a", queue })
  const { id, lease } = (await (await broker.call("GET", `/get?queue=${queue}`)).json()) as Record<
    string,
    string
  >
  await broker.call("POST", "/ack", { task_id: id, lease })
  const real = named((await scrape(broker)).replaceAll(/^(?!# TYPE).*$/gm, ""))
  const alerts = await Bun.file(join(files, "alerts.yml")).text()
  const dashboard = await Bun.file(join(files, "grafana.json")).text()
  for (const text of [alerts, dashboard]) for (const name of named(text)) expect([...real]).toContain(name)
  const readme = await Bun.file(join(import.meta.dir, "../../lib/observe/README.md")).text()
  const table = readme.slice(readme.indexOf("| metric |")).split("\n\n")[0]!
  const ours = [...real].filter(name => !/^tq_(process|nodejs)_/.test(name))
  expect([...named(table)].filter(name => !name.endsWith("_")).sort()).toEqual(ours.sort())

  const { groups } = Bun.YAML.parse(alerts) as { groups: { rules: { alert: string }[] }[] }
  expect(groups.flatMap(({ rules }) => rules.map(({ alert }) => alert))).toEqual([
    "TaskQueueDeadLettersGrow",
    "TaskQueueOldestWaitsTooLong",
    "TaskQueueNoWorkers",
    "TaskQueueLeasesLapse",
    "TaskQueueAttemptsFail",
    "TaskQueueBacklogGrows",
    "TaskQueueSchedulesFail",
  ])
  if (promtool) expect(await check(["check", "rules", join(files, "alerts.yml")])).toBe("")
  const { panels } = JSON.parse(dashboard) as { panels: { title: string; targets: { expr: string }[] }[] }
  expect(panels.length).toBeGreaterThan(5)
  for (const { title, targets } of panels) expect([title, targets.length > 0]).toEqual([title, true])
})

test.skipIf(promtool === null)("the alerts fire when they should, in promtool's tests", async () => {
  const broker = (name: string, values: string, more = "") =>
    ["a", "b"].map(instance => ({ series: `${name}{queue="q",instance="${instance}"${more}}`, values }))
  const fires = (alertname: string, severity: string, labels: object) => [
    { eval_time: "10m", alertname, exp_alerts: [{ exp_labels: { ...labels, severity } }] },
    { eval_time: "1m", alertname, exp_alerts: [] },
  ]
  const cases: [alert: string, severity: string, series: object[], labels?: object][] = [
    [
      "TaskQueueSchedulesFail",
      "warning",
      [{ series: 'tq_schedule_fires_total{result="missed",instance="a"}', values: "0x5 2x20" }],
      {},
    ],
    ["TaskQueueDeadLettersGrow", "warning", broker("tq_task_events_total", "0x5 1x20", ',event="dead"')],
    [
      "TaskQueueOldestWaitsTooLong",
      "warning",
      broker("tq_oldest_waiting_timestamp_seconds", "+Inf+0x6 0x20"),
    ],
    ["TaskQueueLeasesLapse", "warning", broker("tq_task_events_total", "0x5 1x20", ',event="lapsed"')],
    [
      "TaskQueueAttemptsFail",
      "warning",
      [
        ...broker("tq_task_events_total", "0x3 12x20", ',event="failed"'),
        ...broker("tq_task_events_total", "0x3 90x20", ',event="done"'),
      ],
    ],
    ["TaskQueueBacklogGrows", "warning", broker("tq_tasks", "1000x5 1150x20", ',state="queued"')],
    [
      "TaskQueueNoWorkers",
      "critical",
      [
        ...broker("tq_tasks", "3x20", ',state="queued"'),
        ...broker("tq_last_poll_timestamp_seconds", "0+60x2 0x20"),
      ],
    ],
  ]
  const folder = await mkdtemp(join(tmpdir(), "tq-alerts-"))
  try {
    const path = join(folder, "tests.yml")
    // Only whether it fires is checked, not the texts.
    const rules = (await Bun.file(join(files, "alerts.yml")).text()).replaceAll(
      /^ {8}annotations:\n(?: {10}.*\n)+/gm,
      "",
    )
    await Bun.write(join(folder, "alerts.yml"), rules)
    const tests = cases.map(([alert, severity, input_series, labels = { queue: "q" }]) => ({
      interval: "1m",
      input_series,
      alert_rule_test: fires(alert, severity, labels),
    }))
    await Bun.write(path, JSON.stringify({ rule_files: ["alerts.yml"], tests }))
    expect(await check(["test", "rules", path])).toBe("")
  } finally {
    await rm(folder, { recursive: true })
  }
})
