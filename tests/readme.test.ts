/** The documents against the code: tables word for word, code blocks by running them. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Env, readBrokerConfig, readWorkerConfig } from "../lib/config/config.ts"
import { Fatal, loadHandlers } from "../lib/handlers.ts"
import { PROBLEMS } from "../lib/wire/problem.ts"
import { bare, code, read, root, table } from "./support/documents.ts"
import { type TestBroker, TOKEN, testBroker, until } from "./support/harness.ts"

test("the codes of errors, with their statuses, are those of the code", async () => {
  const rows = await table("lib/http/protocol.md", "| code | status | meaning | do next |")
  expect(rows.map(([code, status]) => [bare(code!), Number(status)])).toEqual(
    Object.entries(PROBLEMS).map(([code, { status }]) => [code, status]),
  )
})

/** The variables that a reader asks for, and what it makes of an empty environment. */
function variables(reader: (env: Env) => object): Map<string, string> {
  const asked = new Set<string>()
  const env = new Proxy({}, { get: (_, name) => void asked.add(String(name)) })
  const config = reader(env) as Record<string, unknown>
  const member = (name: string) => name.toLowerCase().replace(/_(.)/g, (_, letter) => letter.toUpperCase())
  return new Map([...asked].map(name => [name, String(config[member(name)] ?? "–")]))
}

test("the variables, who reads them and their defaults are those of lib/config/config.ts", async () => {
  const broker = variables(readBrokerConfig)
  const worker = variables(readWorkerConfig)
  broker.set("REDIS_PORT", "6379") // no member of its own: it becomes part of redisUrl
  expect(readBrokerConfig({ REDIS_HOST: "a", API_SECRET_TOKEN: "b" }).redisUrl).toBe("redis://a:6379")
  broker.set("DONE_RETENTION_COUNT", String(readBrokerConfig({}).doneKept))
  broker.set("DEAD_RETENTION_COUNT", String(readBrokerConfig({}).deadKept))
  broker.set("BACKOFF_KIND", "none") // all four become `backoff`
  expect(readBrokerConfig({}).backoff).toBeUndefined()
  const { backoff } = readBrokerConfig({ BACKOFF_KIND: "fixed" })
  broker.set("BACKOFF_DELAY_MS", String(backoff!.delay_ms))
  broker.set("BACKOFF_MAX_MS", String(backoff!.max_ms))
  broker.set("BACKOFF_JITTER", String(backoff!.jitter))
  const readers = (name: string) => (broker.has(name) ? (worker.has(name) ? "both" : "broker") : "worker")
  const rows = await table("lib/config/README.md", "| variable | read by | default | meaning |")
  for (const [name] of rows.filter(([, by]) => by === "Compose"))
    expect(await read("docker-compose.yml")).toContain(`\${${bare(name!)}`)
  expect(
    rows
      .filter(([, by]) => by !== "Compose")
      .map(([name, by, fallback]) => [bare(name!), by, bare(fallback!)])
      .sort(),
  ).toEqual([...new Map([...broker, ...worker])].map(([name, value]) => [name, readers(name), value]).sort())
})

test("the settings of the front page are those of the full table", async () => {
  const header = "| variable | read by | default | meaning |"
  const known = (await table("lib/config/README.md", header)).map(row => row.slice(0, 3))
  for (const row of await table("README.md", header)) expect(known).toContainEqual(row.slice(0, 3))
})

test("Compose passes every variable of a broker and a worker on, or sets it", async () => {
  const compose = await read("docker-compose.yml")
  // What has no use there: it brings its own Redis, one server, and each worker has a name of its own.
  const none = /^(REDIS_(?!URL|TIMEOUT)|WAIT_REPLICAS|DATA_DIR|WORKER_NAME)/
  const asked = [...variables(readBrokerConfig).keys(), ...variables(readWorkerConfig).keys()]
  for (const name of asked.filter(name => !none.test(name))) expect(compose).toContain(`      ${name}: `)
})

test(".env.example has every variable", async () => {
  const names = [...(await read(".env.example")).matchAll(/^#? ?([A-Z_]+)=/gm)].map(([, name]) => name!)
  expect([...new Set(names)].sort()).toEqual(
    (await table("lib/config/README.md", "| variable | read by | default | meaning |"))
      .map(([name]) => bare(name!))
      .sort(),
  )
})

test("the version is the same everywhere", async () => {
  const { version } = JSON.parse(await read("package.json"))
  expect(await read("CHANGELOG.md")).toContain(`\n## ${version}`)
  expect(await read("lib/http/openapi/document.ts")).toContain(`version: "${version}"`)
})

test("the first lines with curl print what the front page says", async () => {
  await using broker = await testBroker()
  const dir = await mkdtemp(join(tmpdir(), "tq-readme-"))
  const env = { ...process.env, BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN }
  const worker = Bun.spawn([process.execPath, join(root, "worker.ts")], {
    env,
    stdout: "ignore",
    stderr: "ignore",
  })
  try {
    await Bun.write(join(dir, ".data/token"), `${TOKEN}\n`)
    const script = (await code("README.md", "## Start", "bash")).replace("http://localhost:5000", broker.url)
    const shell = Bun.spawn(["bash", "-euc", script], { cwd: dir, stderr: "pipe" })
    const printed = (await new Response(shell.stdout).text()).replace(/\n+/g, "\n").trim()
    expect(await new Response(shell.stderr).text()).toBe("")
    expect(printed).toBe(await code("README.md", "## Start", "text"))
    expect(printed).toEndWith("\n6")
  } finally {
    worker.kill()
    await worker.exited
    await rm(dir, { recursive: true })
  }
})

test("the longer tour with curl does what it says", async () => {
  await using broker = await testBroker()
  const dir = await mkdtemp(join(tmpdir(), "tq-readme-"))
  try {
    await Bun.write(join(dir, ".data/token"), `${TOKEN}\n`)
    const script = (await code("lib/http/tour.md", "# A tour with curl", "bash")).replace(
      "http://localhost:5000",
      broker.url,
    )
    const tour = Bun.spawn(["bash", "-euc", script], { cwd: dir, stderr: "pipe" })
    const lines = (await new Response(tour.stdout).text()).trim().split("\n")
    expect(await new Response(tour.stderr).text()).toBe("")
    const answers = lines.map(line => JSON.parse(line) as Record<string, unknown>)
    expect(answers.map(answer => answer.status ?? answer.cause ?? answer.dlq_size)).toEqual([
      ...["queued", "queued", "processing", "ok", "acknowledged", "done"],
      ...["queued", "moved_to_dlq", 1, "requeued_from_dlq", "cancelled"],
      ...["scheduled", "scheduled", "delayed", "cancelled"],
    ])
    expect(answers[5]!.result).toEqual({ hello: "Ada" })
    expect(answers.map(answer => answer.replayed)).toEqual(
      answers.map((_, i) => (i === 12 ? true : undefined)),
    )
    expect(answers[12]!.task_id).toBe(answers[11]!.task_id)
  } finally {
    await rm(dir, { recursive: true })
  }
})

/** Runs a worker until it has done a task, and answers how the task ended. */
async function oneTask(broker: TestBroker, command: string[]): Promise<Record<string, unknown>> {
  const env = { ...process.env, BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN }
  // With a group of its own, so that what it started ends with it.
  const worker = Bun.spawn(command, { env, stdout: "ignore", detached: true })
  try {
    const submitted = await broker.call("POST", "/submit", { type: "any", payload: "ada" })
    const { task_id } = (await submitted.json()) as { task_id: string }
    let task: Record<string, unknown> = {}
    await until("the worker does the task", async () => {
      task = (await (await broker.call("GET", `/status/${task_id}`)).json()) as typeof task
      return task.status === "done"
    })
    return task
  } finally {
    process.kill(-worker.pid, "SIGKILL")
    await worker.exited
  }
}

test("the worker in Python works", async () => {
  await using broker = await testBroker()
  const task = await oneTask(broker, ["python3", "-c", await code("README.md", "### In Python", "python")])
  expect(task).toMatchObject({ status: "done", result: "ADA", attempt: 1 })
})

test("the worker in bash works", async () => {
  await using broker = await testBroker()
  expect(await oneTask(broker, ["bash", "-c", await code("README.md", "### In bash", "bash")])).toMatchObject(
    { attempt: 1 },
  )
})

test("the handlers in TypeScript work", async () => {
  const path = join(await mkdtemp(join(tmpdir(), "tq-readme-")), "my-handlers.ts")
  await Bun.write(
    path,
    (await code("README.md", "### In TypeScript", "ts")).replace("./lib/", `${root}/lib/`),
  )
  let status = 200
  await using pages = Bun.serve({ port: 0, fetch: () => new Response("", { status }) })
  const handlers = await loadHandlers(path)
  await rm(join(path, ".."), { recursive: true })
  const run = (type: string, payload: unknown, checkpoint?: unknown) => {
    const told: unknown[] = []
    const context = {
      task: { id: "1", attempt: 1, checkpoint },
      signal: new AbortController().signal,
      ...{ log: () => {}, progress: (value: unknown) => told.push(value), checkpoint: async () => {} },
    }
    const handler = handlers.get(type)!
    return Promise.resolve(handler(payload as never, context as never)).then(result => ({ result, told }))
  }
  expect((await run("greet", { name: "Ada" })).result).toEqual({ hello: "Ada" })
  const urls = [pages.url.href, pages.url.href]
  const all = await run("import", { urls })
  expect(all).toEqual({
    result: { imported: 2 },
    told: [
      { done: 1, of: 2 },
      { done: 2, of: 2 },
    ],
  })
  expect((await run("import", { urls }, { next: 1 })).told).toHaveLength(1)
  await expect(run("import", {})).rejects.toThrow(Fatal)
  status = 503
  expect(await run("import", { urls }).catch(error => error)).toMatchObject({ name: "RetryIn", ms: 60_000 })
})
