/** `bun run start`: its log names the processes, and no process outlives it. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { helpText, variablesOf } from "../../lib/process/help.ts"
import { directory, embeddedPid, freePort, isAlive, Process, ROOT, until } from "../support/processes.ts"

/** `start` on a free port, with a data directory that is still empty. */
function startIn(path: string, env: Record<string, string> = {}): Process {
  const port = `${freePort(3)}`
  const url = `http://127.0.0.1:${port}`
  return new Process({
    cmd: [process.execPath, join(ROOT, "lib/process/start.ts")],
    env: { HOST: "127.0.0.1", PORT: port, BROKER_URL: url, DATA_DIR: join(path, ".data"), ...env },
  })
}

/** The ids of the processes that this process has started and that still run. */
function childrenOf(pid: number): number[] {
  const { stdout } = Bun.spawnSync(["ps", "-e", "-o", "pid=,ppid="])
  return stdout
    .toString()
    .split("\n")
    .map(line => line.trim().split(/ +/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child!)
}

test("every log line names its process, and the worker does not wait for a token", async () => {
  await using dir = await directory()
  await using start = startIn(dir.path)
  expect(await start.logged("The worker is ready")).toMatchObject({ process: "worker" })
  expect(await start.stop()).toBe(0)
  expect(start.log[0]).toMatchObject({ process: "broker", message: "The broker is listening" })
  for (const line of start.log) expect(["broker", "worker"]).toContain(String(line.process))
  expect(start.log.filter(({ message }) => message.includes("token"))).toEqual([])
  // The worker stops first, as it needs the broker to report its last tasks.
  const stops = start.log.filter(({ message }) => message.includes("has stopped"))
  expect(stops.map(line => line.process)).toEqual(["worker", "broker"])
})

test.each([
  ["PORT", {}],
  ["PORT=0", { PORT: "0" }],
  ["two brokers", { BROKERS: "2" }],
] as const)("without BROKER_URL the worker uses the address of the broker: %s", async (_, env) => {
  await using dir = await directory()
  await using start = startIn(dir.path, { BROKER_URL: "", ...env })
  const { broker } = await start.logged("The worker is ready")
  const { url, token } = await start.logged("The broker is listening")
  expect(broker).toBe(url)
  const client = new Client({ url: String(url), token: (await Bun.file(String(token)).text()).trim() })
  const { task_id } = await client.submit({ type: "add", payload: [1, 2, 3] })
  expect(await client.status(task_id, { wait_ms: 20_000 })).toMatchObject({ status: "done", result: 6 })
})

test("a dead task has one log line that says so", async () => {
  await using dir = await directory()
  await using start = startIn(dir.path, { BROKER_URL: "" })
  await start.logged("The worker is ready")
  const { url, token } = await start.logged("The broker is listening")
  const client = new Client({ url: String(url), token: (await Bun.file(String(token)).text()).trim() })
  const { task_id } = await client.submit({ type: "fail", max_retries: 0 })
  expect(await client.status(task_id, { wait_ms: 20_000 })).toMatchObject({ status: "dead" })
  expect(await start.stop()).toBe(0)
  const about = start.log.filter(line => line.task_id === task_id)
  expect(about.map(({ message, process }) => [process, message]).sort()).toEqual([
    ["broker", "A task is dead"],
    ["worker", "An attempt failed"],
  ])
})

test("a broker that cannot start ends start with its exit code, and no worker is started", async () => {
  await using dir = await directory()
  using taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } })
  await using start = startIn(dir.path, { PORT: `${taken.port}` })
  expect(await start.ended()).toBe(1)
  expect(start.log.map(line => line.process)).toEqual(["broker"])
  expect(start.log[0]!.message).toContain(`Port ${taken.port} is in use`)
})

test.each([
  ["one broker", {}],
  ["two brokers", { BROKERS: "2" }],
] as const)("with %s, SIGKILL of start ends everything that it started", async (_, env) => {
  await using dir = await directory()
  await using start = startIn(dir.path, env)
  await start.logged("The worker is ready")
  const redis = (await embeddedPid(join(dir.path, ".data")))!
  const children = childrenOf(start.pid)
  const started = [...children, ...children.flatMap(childrenOf), redis]
  expect(children).toHaveLength(2)
  expect(started.every(isAlive)).toBeTrue()
  // Not kill9: that waits for the end of its output, which its children share.
  start.signal("SIGKILL")
  await until("all have ended", () => !started.some(isAlive))
})

test("the help says what start does and where its settings are described", () => {
  expect([...variablesOf("start")]).toEqual([])
  for (const text of ["starts a broker", "bun run broker.ts --help", "bun run worker.ts --help"])
    expect(helpText("start")).toContain(text)
})
