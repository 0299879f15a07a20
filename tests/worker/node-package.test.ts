/**
 * The package for Node: it is built, installed offline into an empty project, type-checked there, and its worker runs
 * there while workers and brokers are killed.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { version } from "../../package.json" with { type: "json" }
import { code } from "../support/documents.ts"
import { TOKEN } from "../support/harness.ts"
import { crowd } from "../support/kills.ts"
import { type Directory, directory, Process, ROOT, startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(300_000)

const hasNode = Bun.which("node") !== null && Bun.which("npm") !== null
if (!hasNode) console.log("The tests of the package for Node are skipped: node or npm is not installed")

const WORKER = `
import { openSync, writeSync } from "node:fs"
import { createLog, Fatal, Worker } from "task-queue"

const { BROKER_URL: url, API_SECRET_TOKEN: token, QUEUES = "default", RUNS } = process.env
const file = openSync(\`\${RUNS}/worker-\${process.pid}\`, "a")
const log = createLog("debug")
const handlers = {
  record: (_, { task }) => void writeSync(file, \`\${task.id} \${task.attempt}\\n\`),
  steps: async (_, { task, checkpoint, progress, log }) => {
    if (task.attempt === 1) {
      progress({ percent: 50 })
      log("half")
      await checkpoint({ step: 1 })
      throw new Error("once", { cause: new AggregateError([new Error("inner")]) })
    }
    return task.checkpoint
  },
  fatal: () => {
    throw new Fatal("never again")
  },
}
const worker = new Worker({ url, token, queues: QUEUES.split(","), handlers, log, concurrency: 20 })
process.once("SIGTERM", () => worker.stop())
log.info("The worker is ready")
process.exitCode = (await worker.run()) ? 0 : 1
`

const PROGRAM = `
import { BrokerProblem, Client, Fatal, type Handler, type HandlerContext, type Log, Worker } from "task-queue"

const client = new Client({ url: "http://localhost:5000", token: "t" })
const greet: Handler<{ name: string }, number> = async ({ name }, { task, checkpoint, signal }) => {
  await checkpoint((task.checkpoint ?? 0) + 1)
  signal.throwIfAborted()
  const id: string = task.id
  return id + name
}
const count = (n: number, _: HandlerContext) => {
  throw new Fatal(String(n))
}
const worker = new Worker({ url: client.url, token: () => "t", handlers: { greet, count }, health: { port: 8080 } })
export const ok: boolean = await worker.run()
const { status, task_id } = await client.submit({ type: "a", payload: 1, meta: { a: "b" } })
export const known: "queued" | "scheduled" | "duplicate" = status
const view = await client.status(task_id)
export const depth: number = view.retries + (await client.queues()).queues[0]!.depth.dead
// @ts-expect-error: there is no such member
await client.submit({ typ: "a" })
// @ts-expect-error: a state is a text
export const wrong: number = view.status
for await (const { event, data } of client.events()) console.log(event === "done", data.task_id?.length)
export const isProblem = (error: unknown, log: Log) => error instanceof BrokerProblem && log.warn(error.code)
`

let project: string

beforeAll(async () => {
  if (!hasNode) return
  project = await mkdtemp(join(tmpdir(), "tq-node-project-"))
  const pack = new Process({ cmd: [process.execPath, "run", "pack", project], cwd: ROOT })
  expect([await pack.ended(), pack.stderr]).toEqual([0, ""])
  const tarball = join(project, `task-queue-${version}.tgz`)
  await writeFile(join(project, "package.json"), JSON.stringify({ name: "empty", type: "module" }))
  await writeFile(join(project, "worker.js"), WORKER)
  const install = new Process({
    cmd: ["npm", "install", "--offline", "--no-audit", "--no-fund", tarball],
    cwd: project,
    env: { npm_config_cache: join(project, "cache") },
  })
  expect([await install.ended(), install.stderr]).toEqual([0, expect.any(String)])
})
afterAll(() => hasNode && rm(project, { recursive: true, force: true }))

async function startNodeWorker(
  url: string,
  runs: Directory,
  env: Record<string, string> = {},
): Promise<Process> {
  const worker = new Process({
    cmd: ["node", join(project, "worker.js")],
    cwd: project,
    env: { BROKER_URL: url, API_SECRET_TOKEN: TOKEN, RUNS: runs.path, ...env },
  })
  try {
    await worker.logged("The worker is ready")
    return worker
  } catch (error) {
    await worker.kill9()
    throw error
  }
}

describe.skipIf(!hasNode)("the package for Node", () => {
  test("needs no other package, and uses nothing of Bun", async () => {
    expect(await readdir(join(project, "node_modules"))).toEqual([".package-lock.json", "task-queue"])
    const text = await Bun.file(join(project, "node_modules/task-queue/index.js")).text()
    expect(text).not.toMatch(/\bBun\.|from "bun|withResolvers|import\.meta\.(dir|main|env)\b/)
    for (const [, name] of text.matchAll(/^import .* from "([^"]+)"/gm)) expect(name).toStartWith("node:")
  })

  test("has types that a strict program without other types can use", async () => {
    await writeFile(join(project, "program.ts"), PROGRAM)
    const compilerOptions = {
      target: "ES2023",
      module: "NodeNext",
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      types: [],
      lib: ["ES2023", "DOM", "DOM.AsyncIterable"],
    }
    await writeFile(
      join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions, files: ["program.ts"] }),
    )
    const tsc = new Process({ cmd: [join(ROOT, "node_modules/.bin/tsc"), "-p", project] })
    expect([await tsc.ended(), tsc.stdout]).toEqual([0, ""])
  })

  test("the example of the README runs", async () => {
    await using redis = await testRedis()
    await using broker = await startBroker(redis.socket)
    const example = await code("README.md", "### In Node", "js")
    await writeFile(join(project, "readme.js"), example.replace("http://localhost:5000", broker.url))
    const env = { API_SECRET_TOKEN: TOKEN }
    await using worker = new Process({ cmd: ["node", "readme.js"], cwd: project, env })
    const { task_id } = await broker.client.submit({ type: "greet", payload: { name: "Ada" } })
    const task = await broker.client.status(task_id, { wait_ms: 20_000 })
    expect(task).toMatchObject({ status: "done", result: { hello: "Ada" } })
    expect(await worker.stop()).toBe(0)
  })

  test("a worker stores checkpoints, reports errors with causes and without its own frames, and drains", async () => {
    await using redis = await testRedis()
    await using broker = await startBroker(redis.socket)
    await using runs = await directory()
    await using worker = await startNodeWorker(broker.url, runs)
    const { client } = broker
    const end = async (type: string) => {
      const { task_id } = await client.submit({ type, max_retries: 3 })
      return client.status(task_id, { wait_ms: 20_000 })
    }
    const steps = await end("steps")
    expect(steps).toMatchObject({
      status: "done",
      attempt: 2,
      result: { step: 1 },
      progress: { percent: 50 },
    })
    const [first] = steps.attempts!
    expect(first!.error).toStartWith("Error: once\ncaused by AggregateError")
    expect(await end("fatal")).toMatchObject({ status: "dead", attempt: 1, reason: "failed" })
    const { error } = await end("fatal")
    expect(error).toContain("worker.js:")
    expect(error).not.toContain("node_modules")
    expect(await worker.stop()).toBe(0)
    expect(worker.log.at(-1)).toMatchObject({ message: "The worker has stopped" })
  })

  test("kill -9 of a worker in Node and of brokers: no task is lost, and none is finished twice", async () => {
    await using all = new AsyncDisposableStack()
    const scene = await crowd(all, startNodeWorker)
    await scene.progress()
    for (let round = 0; round < 2; round++) {
      await scene.worker.kill9()
      await scene.progress(50)
      scene.worker = all.use(
        await startNodeWorker(scene.brokers[1]!.url, scene.runs, { QUEUES: "processes" }),
      )
      await scene.progress()
    }
    for (let round = 0; round < 2; round++) {
      const { process, port } = scene.brokers[round]!
      await process.kill9()
      all.use(await startBroker(scene.redis.socket, { PORT: port }))
      await scene.progress()
    }
    await scene.finish()
  })
})
