/** The documents against the code: tables word for word, code blocks by running them. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
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
async function oneTask(
  broker: TestBroker,
  command: string[],
  payload: unknown = "ada",
  url = broker.url,
): Promise<Record<string, unknown>> {
  const env = { ...process.env, BROKER_URL: url, API_SECRET_TOKEN: TOKEN }
  // In its own process group, so that its child processes end with it.
  const worker = Bun.spawn(command, { env, stdout: "ignore", detached: true })
  try {
    const submitted = await broker.call("POST", "/submit", { type: "any", payload })
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

test.each([
  [
    "README.md",
    "The package in [lib/python](lib/python/README.md) needs only the standard library: `pip install ./lib/python`.",
    { name: "Ada" },
    { hello: "Ada" },
  ],
  ["lib/python/README.md", "## Worker", { urls: ["a", "b"] }, { imported: 2 }],
])("the worker of the Python package works: %s", async (document, heading, payload, result) => {
  await using broker = await testBroker()
  const script = (await code(document, heading, "python"))
    .replace('queues=["mail"], ', "")
    .replace(/handler\(".*"\)/, 'handler("any")')
  const command = [
    "env",
    `PYTHONPATH=${join(root, "lib/python")}`,
    "PYTHONDONTWRITEBYTECODE=1",
    "python3",
    "-c",
    script,
  ]
  expect(await oneTask(broker, command, payload)).toMatchObject({ status: "done", result })
})

test("the worker in Python works", async () => {
  await using broker = await testBroker()
  const task = await oneTask(broker, [
    "python3",
    "-c",
    await code("README.md", "Without the package, a worker is sixteen lines:", "python"),
  ])
  expect(task).toMatchObject({ status: "done", result: "ADA", attempt: 1 })
})

test("the worker in bash works", async () => {
  await using broker = await testBroker()
  expect(await oneTask(broker, ["bash", "-c", await code("README.md", "### In bash", "bash")])).toMatchObject(
    { attempt: 1 },
  )
})

test("a payload does not mislead the worker in bash", async () => {
  await using broker = await testBroker()
  const script = await code("README.md", "### In bash", "bash")
  for (const payload of [{ lease: "12 months", rent: 900 }, { id: "c7" }, [{ task_id: "x", lease: "" }]])
    expect(await oneTask(broker, ["bash", "-c", script], payload)).toMatchObject({ attempt: 1 })
})

test("the worker in Python survives answers that it cannot read", async () => {
  await using broker = await testBroker()
  const unreadable = ["<html>", "[".repeat(100_000), "{", ""]
  // A proxy that spoils the first answers.
  await using proxy = Bun.serve({
    port: 0,
    async fetch(request) {
      if (unreadable.length > 0) return new Response(unreadable.shift())
      const { pathname } = new URL(request.url)
      const { method, headers } = request
      return fetch(broker.url + pathname, { method, headers, body: await request.text() })
    },
  })
  const script = await code("README.md", "Without the package, a worker is sixteen lines:", "python")
  const task = await oneTask(broker, ["python3", "-c", script], "ada", proxy.url.href.slice(0, -1))
  expect(task).toMatchObject({ status: "done", result: "ADA" })
  expect(unreadable).toEqual([])
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
    const reported: unknown[] = []
    const context = {
      task: { id: "1", attempt: 1, checkpoint },
      signal: new AbortController().signal,
      log: () => {},
      progress: (value: unknown) => reported.push(value),
      checkpoint: async () => {},
    }
    const handler = handlers.get(type)!
    return Promise.resolve(handler(payload as never, context as never)).then(result => ({ result, reported }))
  }
  expect((await run("greet", { name: "Ada" })).result).toEqual({ hello: "Ada" })
  const urls = [pages.url.href, pages.url.href]
  const all = await run("import", { urls })
  expect(all).toEqual({
    result: { imported: 2 },
    reported: [
      { done: 1, of: 2 },
      { done: 2, of: 2 },
    ],
  })
  expect((await run("import", { urls }, { next: 1 })).reported).toHaveLength(1)
  await expect(run("import", {})).rejects.toThrow(Fatal)
  status = 503
  expect(await run("import", { urls }).catch(error => error)).toMatchObject({ name: "RetryIn", ms: 60_000 })
})
