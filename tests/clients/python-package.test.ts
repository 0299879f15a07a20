/** The Python package in lib/python: its client, its worker under kills, its installation. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { existsSync } from "node:fs"
import { cp, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { $ } from "bun"
import { root } from "../support/documents.ts"
import { runsByWorker } from "../support/handlers.ts"
import { DirectQueue, freshName, TOKEN, testBroker } from "../support/harness.ts"
import { directory, freePort, Process, startBroker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(180_000)

const PACKAGE = join(root, "lib/python")
const PROGRAMS = join(import.meta.dir, "python")
const python = (file: string, env: Record<string, string>, ...args: string[]) =>
  new Process({
    cmd: ["python3", "-u", join(PROGRAMS, file), ...args],
    env: { PYTHONPATH: PACKAGE, PYTHONDONTWRITEBYTECODE: "1", API_SECRET_TOKEN: TOKEN, ...env },
  })

test("a program calls the broker, with and without asyncio", async () => {
  await using broker = await testBroker()
  await using program = python("calls.py", { BROKER_URL: broker.url }, freshName())
  expect([await program.ended(), program.stdout, program.stderr]).toEqual([0, "ok\n", ""])
})

test("a worker refuses parameters with which it would lease no tasks", async () => {
  const refused = [
    ...["queues='mail'", "queues=['a b']", "queues=['a'] * 101", "name='a b'", "concurrency=0"],
    ...["concurrency='5'", "drain=-1"],
  ]
  const program = `
from task_queue import Worker
for arguments in (${refused.map(one => `dict(${one})`).join(", ")}):
    try: Worker("http://localhost:1", "token", **arguments)
    except ValueError as error: print(error)
@Worker("http://localhost:1", "token", queues=["mail"], name="a", concurrency=1, drain=0).handler
def greet(payload): pass
`
  await using worker = new Process({
    cmd: ["python3", "-c", program],
    env: { PYTHONPATH: PACKAGE, PYTHONDONTWRITEBYTECODE: "1" },
  })
  expect(await worker.ended()).toBe(1)
  expect(
    worker.stdout
      .trim()
      .split("\n")
      .map(line => line.split(" ")[0]),
  ).toEqual(refused.map(one => one.split("=")[0]!))
  expect(worker.stderr).toContain('TypeError: the handler has no task type: write @worker.handler("greet")')
})

test("a stream of events outlives its broker, and continues after the newest id that it has read", async () => {
  const asked: string[] = []
  const serve = (port: number, text: string) =>
    Bun.serve({
      hostname: "127.0.0.1",
      port,
      fetch: ({ url }) => {
        asked.push(new URL(url).search)
        return new Response(text, { headers: { "content-type": "text/event-stream" } })
      },
    })
  // The last block is a heartbeat.
  const first = serve(0, 'retry: 20\nid: 1-0\nevent: listening\ndata: {"n":1}\n\n:\nid: 7-0\n\n')
  const port = first.port!
  await using program = new Process({
    cmd: [
      "python3",
      "-uc",
      `from task_queue import Client\nfor event in Client().listen_events(): print(event.data["n"])`,
    ],
    env: {
      PYTHONPATH: PACKAGE,
      PYTHONDONTWRITEBYTECODE: "1",
      API_SECRET_TOKEN: TOKEN,
      BROKER_URL: `http://127.0.0.1:${port}`,
    },
  })
  await until("it has reconnected", () => asked.length > 1)
  expect(asked.slice(0, 2)).toEqual(["", "?last_event_id=7-0"])
  await first.stop(true)
  await Bun.sleep(500) // it finds that nothing listens there
  await using _second = serve(port, 'id: 8-0\nevent: done\ndata: {"n":2}\n\n')
  await until("it reads on", () => program.stdout.includes("2"))
  expect(program.stderr).toBe("")
})

test("pip installs the package without a network, and its types are part of it", async () => {
  await using place = await directory()
  const target = join(place.path, "site")
  // A copy: pip must not need to write into the directory.
  await cp(PACKAGE, join(place.path, "source"), { recursive: true })
  const install =
    await $`python3 -m pip install --no-index --no-cache-dir --target ${target} ${join(place.path, "source")}`
      .env({ ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: "1" })
      .quiet()
      .nothrow()
  if (install.stderr.toString().includes("No module named pip"))
    return console.warn("pip is not installed: the installation was not tried")
  expect([install.exitCode, install.stderr.toString()]).toEqual([0, expect.not.stringContaining("ERROR")])
  expect(existsSync(join(target, "task_queue/py.typed"))).toBeTrue()
  const code = "import task_queue; print(task_queue.__file__)"
  const imported = await $`python3 -c ${code}`.env({ ...process.env, PYTHONPATH: target }).text()
  expect(imported).toStartWith(target)
})

/** A Redis, a broker, and a way to start workers, whose runs are recorded. */
async function scene(all: AsyncDisposableStack, queue = "default") {
  const redis = all.use(await testRedis({ aof: "always" }))
  const runs = all.use(await directory())
  const direct = all.use(new DirectQueue(redis.socket, queue))
  direct.redis.on("error", () => {})
  const broker = all.use(await startBroker(redis.socket))
  return {
    ...broker,
    redis,
    direct,
    runs: async () => (await runsByWorker(runs.path)).flat(),
    notes: () => readFile(join(runs.path, "notes"), "utf8").catch(() => ""),
    go: () => writeFile(join(runs.path, "go"), ""),
    async worker(env: Record<string, string> = {}) {
      const worker = all.use(python("handlers.py", { BROKER_URL: broker.url, RUNS: runs.path, ...env }))
      await until("the worker is ready", () => worker.stderr.includes("The worker is ready"))
      return worker
    },
    begun: (count: number) =>
      until(`${count} runs`, async () => (await runsByWorker(runs.path)).flat().length === count),
    ends: (id: string, status: string) =>
      until(`${id} ${status}`, async () => (await broker.client.status(id)).status === status),
  }
}

test("a worker returns results, checkpoints, errors with their causes, and what the broker refuses", async () => {
  await using all = new AsyncDisposableStack()
  const { client, worker, ends } = await scene(all)
  const python = await worker()
  const submit = async (type: string, payload: unknown = {}) =>
    (await client.submit({ type, payload, max_retries: 1 })).task_id
  const ids = {
    add: await submit("add", [1, 2, 3]),
    steps: await submit("steps"),
    fatal: await submit("fatal"),
    nan: await submit("return", "nan"),
    set: await submit("return", "set"),
    large: await submit("return", "large"),
    exit: await submit("exit"),
    unknown: await submit("nobody knows"),
  }
  for (const id of [ids.add, ids.steps]) await ends(id, "done")
  for (const id of [ids.fatal, ids.nan, ids.set, ids.large, ids.exit]) await ends(id, "dead")
  expect(await client.status(ids.add)).toMatchObject({ result: 6 })
  expect(await client.status(ids.steps)).toMatchObject({
    attempt: 2,
    retries: 1,
    result: { from: { next: 1 } },
    progress: { done: 1, of: 2 },
    checkpoint: { next: 1 },
  })
  const fatal = await client.status(ids.fatal)
  expect(fatal).toMatchObject({ attempt: 1 })
  expect(fatal.error!.split("\n").slice(0, 2)).toEqual(["Fatal: outer", "caused by KeyError: 'inner'"])
  expect(fatal.error).toContain("at fatal (")
  expect(fatal.error).not.toContain("task_queue/")
  const refused = "the handler's result cannot be written as JSON:"
  expect((await client.status(ids.nan)).error).toStartWith(`${refused} ValueError: Out of range float values`)
  expect((await client.status(ids.set)).error).toBe(
    `${refused} TypeError: Object of type set is not JSON serializable`,
  )
  expect((await client.status(ids.large)).error).toStartWith("the broker refused the handler's result")
  expect((await client.status(ids.exit)).error).toStartWith("SystemExit: 3")
  await until("the unknown type is released", async () => (await client.status(ids.unknown)).releases === 1)
  expect((await client.status(ids.unknown)).error).toContain(
    'no handler for type "nobody knows"; it knows record, add',
  )
  expect(python.stderr).toContain(
    'Tasks of an unknown type are released: this worker has no handler for type "nobody',
  )
})

test.each(["hold", "hold async"])("a cancelled task ends its handler with an exception: %s", async type => {
  await using all = new AsyncDisposableStack()
  const { client, worker, begun, ends, notes } = await scene(all)
  await worker()
  const { task_id: id } = await client.submit({ type, timeout_ms: 2_000 })
  await begun(1)
  await client.cancel(id)
  await ends(id, "cancelled")
  expect(await notes()).toBe(type === "hold" ? "TaskCancelled\n" : "CancelledError\n")
})

test("a lease is extended while its handler runs", async () => {
  await using all = new AsyncDisposableStack()
  const { client, worker, begun, ends, go } = await scene(all)
  await worker()
  const { task_id: id } = await client.submit({ type: "hold", timeout_ms: 2_000 })
  await begun(1)
  const first = (await client.status(id)).lease_expires_at!
  await until("two extensions", async () => (await client.status(id)).lease_expires_at! > first + 1_000)
  await go()
  await ends(id, "done")
  expect(await client.status(id)).toMatchObject({ attempt: 1, result: "held" })
})

test("SIGTERM drains: running tasks get DRAIN_MS, then they are aborted and released without a failure", async () => {
  await using all = new AsyncDisposableStack()
  const { client, worker, begun, notes } = await scene(all)
  const python = await worker({ DRAIN_MS: "50" })
  const ids = []
  for (const type of ["hold", "deaf"]) ids.push((await client.submit({ type })).task_id)
  await begun(2)
  expect(await python.stop()).toBe(0)
  for (const id of ids)
    expect(await client.status(id)).toMatchObject({ status: "queued", retries: 0, crashes: 0, releases: 1 })
  expect(await notes()).toBe("WorkerStopping\n")
})

test("a worker that an operator drains finishes its tasks and ends with 0", async () => {
  await using all = new AsyncDisposableStack()
  const { client, worker, begun, go, ends } = await scene(all)
  const python = await worker({ WORKER_NAME: "parted", CONCURRENCY: "2" })
  const { task_id: id } = await client.submit({ type: "hold" })
  await begun(1)
  await client.drainWorker("parted")
  await go()
  expect(await python.ended()).toBe(0)
  await ends(id, "done")
})

test.each([
  ["CONCURRENCY", "abc", "1 to 1000"],
  ["CONCURRENCY", "0", "1 to 1000"],
  ["DRAIN_MS", "20s", "0 to 2147483647"],
  ["HEALTH_PORT", "65536", "0 to 65535"],
])("the error about a variable that is wrong says what would be right: %s=%s", async (name, value, range) => {
  const code = 'from task_queue import Worker; Worker("http://localhost:5000", "x")'
  const env = { ...process.env, PYTHONPATH: PACKAGE, [name]: value }
  const { exitCode, stderr } = await $`python3 -c ${code}`.env(env).nothrow().quiet()
  expect(exitCode).toBe(1)
  expect(stderr.toString()).toContain(`${name} must be a whole number from ${range}, not '${value}'`)
})

test("health: 200 with the last answer and the tasks in hand, 503 if a request has waited for a minute", async () => {
  await using all = new AsyncDisposableStack()
  const { client, worker, begun } = await scene(all)
  const port = freePort()
  await worker({ HEALTH_PORT: `${port}`, PROCESSES: "2", DRAIN_MS: "0" })
  await client.submit({ type: "hold" })
  await begun(1)
  const health = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`)
    const body = (await answer.json()) as { last_answer_at: number; in_hand: number }
    return { ...body, status: answer.status }
  }
  await until("the health shows the task", async () => (await health()).in_hand === 1)
  const { status, last_answer_at } = await health()
  expect([status, Math.abs(Date.now() - last_answer_at) < 60_000]).toEqual([200, true])
  const code = `
import time
from task_queue.health import Health
health = Health()
print(health.is_good)
health.report(time.time(), time.monotonic() - 61, 0)
print(health.is_good)
health.report(time.time() - 3600, None, 4)
print(health.is_good)`
  const shown = await $`python3 -c ${code}`.env({ ...process.env, PYTHONPATH: PACKAGE }).text()
  expect(shown).toBe("True\nFalse\nTrue\n")
})

test.each([1, 2])(
  "kill -9 of workers with %d processes, and of brokers: every task ends, none is finished twice",
  async processes => {
    await using all = new AsyncDisposableStack()
    const { client, worker, runs, direct, redis, port, process } = await scene(all, "python")
    const env = { QUEUES: "python", PROCESSES: `${processes}`, CONCURRENCY: "4" }
    const ids: string[] = []
    const submit = async (count: number) => {
      const tasks = Array.from({ length: count }, () => ({
        type: "record",
        queue: "python",
        max_crashes: 1_000,
      }))
      for (const answer of await client.submitMany(tasks)) ids.push((answer as { task_id: string }).task_id)
    }
    const done = () => direct.doneCount()
    let current = await worker(env)
    for (let round = 1; round <= 3; round++) {
      await submit(300)
      await until("some are done", async () => (await done()) > (round - 1) * 300 + 20)
      await current.kill9()
      current = await worker(env)
    }
    // A task that kills its process: its parent starts another.
    const { task_id: killer } = await client.submit({ type: "kill", queue: "python", max_crashes: 1 })
    await until("it has killed its process", async () => (await runs()).includes(killer))
    if (processes === 1) current = await worker(env)
    await process.kill9()
    all.use(await startBroker(redis.socket, { PORT: port }))
    await submit(300)
    await until("all have ended", async () => {
      // Leases of the killed lapse.
      const leases = direct.key("leases")
      for (const id of await direct.redis.zrange(leases, "0", "-1"))
        await direct.redis.zadd(leases, "XX", 1, id)
      await Bun.sleep(100)
      if (processes === 1 && !current.running) current = await worker(env)
      return (await done()) === ids.length && (await client.status(killer)).status === "dead"
    })
    expect(new Set(ids).size).toBe(1_200)
    const ran = new Set(await runs())
    for (const id of ids) expect(ran.has(id)).toBeTrue()
  },
)
