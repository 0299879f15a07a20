/** A Redis user that lacks rights: found at start and by /readyz, and a call that has written does not fail because of a hint. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import type { Log } from "../../lib/log.ts"
import { endedChannel } from "../../lib/redis/keys.ts"
import { PROBED_COMMANDS } from "../../lib/redis/rights.ts"
import { root } from "../support/documents.ts"
import { DirectQueue, testBroker, until } from "../support/harness.ts"
import { freePort, startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"
import { answered, post, problem, submitted } from "../support/requests.ts"

/** The rights that the document names, apart from the user and the password. */
async function documentedRights(): Promise<string[]> {
  const text = await Bun.file(join(root, "lib/redis/README.md")).text()
  return /^ACL SETUSER broker on >password (.+)$/m.exec(text)![1]!.split(" ")
}

async function redisWithUser(rights: readonly string[]) {
  const server = await testRedis()
  const direct = new DirectQueue(server.socket)
  const grant = (...rules: string[]) => direct.redis.call("ACL", "SETUSER", "broker", ...rules)
  await grant("reset", "on", ">password", ...rights)
  return {
    direct,
    grant,
    start: (log?: Log) =>
      testBroker({ redisUsername: "broker", redisPassword: "password" }, server.socket, log),
    async [Symbol.asyncDispose]() {
      await direct[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

test("a user with the rights in the document can do everything", async () => {
  await using redis = await redisWithUser(await documentedRights())
  await using broker = await redis.start()
  const id = await submitted(broker, { type: "a" })
  expect(await answered(post(broker, "/lease", {}))).toMatchObject({ tasks: [{ id }] })
  expect(await answered(fetch(`${broker.url}/readyz`))).not.toHaveProperty("degraded")
})

/** Rules that take rights away, and what the broker must name. */
const LACKS: [rules: string[], right: string][] = [
  [["resetchannels"], "&tq:*"],
  [["resetkeys"], "~tq:*"],
  [["resetkeys", "%R~tq:*"], "~tq:*"],
  [["-@scripting"], "+@scripting"],
  [["-eval"], "+@scripting"],
  [["-evalsha"], "+@scripting"],
  [["-publish"], "+publish"],
  [["-subscribe"], "+subscribe"],
  [["-zadd", "-rpush"], "+rpush +zadd"],
  [["-@hash"], "+hset"],
  [["-xtrim"], "+xtrim"],
  [["-unlink"], "+unlink"],
  [["-time"], "+time"],
  [["-scan"], "+scan"],
]

test.each(LACKS)(
  "a broker whose Redis user has the rules %j does not start, and names %s",
  async (rules, right) => {
    await using redis = await redisWithUser([...(await documentedRights()), ...rules])
    const lines: string[] = []
    const add = (message: string) => lines.push(message)
    const error = await redis.start({ debug: add, info: add, warn: add, error: add }).then(
      async broker => {
        await broker[Symbol.asyncDispose]()
        return "it started"
      },
      (error: Error) => error.message,
    )
    expect(error).toStartWith("The Redis user lacks rights")
    expect(lines).toEqual([]) // the broker logs the error
    expect(error).not.toContain("\n")
    for (const each of right.split(" ")) expect(error).toContain(each)
  },
)

test.each(LACKS)(
  "rights that are taken away by %j while a broker runs are named by /readyz: %s",
  async (rules, right) => {
    const rights = await documentedRights()
    await using redis = await redisWithUser(rights)
    await using broker = await redis.start()
    await redis.grant(...rules)
    await expectNotReady(() => fetch(`${broker.url}/readyz`), right.split(" ")[0]!)
    await redis.grant("reset", "on", ">password", ...rights)
    await using second = await redis.start()
    expect((await fetch(`${second.url}/readyz`)).status).toBe(200)
  },
)

/** If a channel is taken away, Redis ends connections, so the first answer may be that Redis is unavailable. */
async function expectNotReady(ready: () => Promise<Response>, right: string): Promise<void> {
  let found = await problem(ready())
  await until("Redis is available", async () => {
    found = await problem(ready())
    return found.code !== "redis_unavailable"
  })
  expect(found).toMatchObject({ status: 503, code: "not_ready", detail: expect.stringContaining(right) })
}

test("calls that have made their change succeed although Redis refuses their hint", async () => {
  const rights = await documentedRights()
  await using redis = await redisWithUser(rights)
  await using broker = await redis.start()
  const watched = await submitted(broker, { type: "a", queue: "q" })
  const waits = broker.call("GET", `/status/${watched}?wait_ms=1000`)
  await until(
    "the request waits",
    async () => (await redis.direct.redis.pubsub("CHANNELS", endedChannel("q"))).length > 0,
  )
  await redis.grant("resetchannels")
  const ask = async (method: string, path: string, body?: object) =>
    (await broker.call(method, path, body)).status
  expect(await ask("POST", "/submit", { type: "b", queue: "q" })).toBe(200)
  expect(await redis.direct.redis.llen("tq:{q}:ready:5")).toBe(2)
  const { tasks } = (await answered(post(broker, "/lease", { queues: ["q"], worker: "w" }))) as {
    tasks: { id: string; lease: string }[]
  }
  expect(await ask("POST", "/ack", { task_id: tasks[0]!.id, lease: tasks[0]!.lease })).toBe(200)
  expect(await ask("PUT", "/queues/q/settings", { defaults: { priority: 3 } })).toBe(200)
  const schedule = { every_ms: 60_000, task: { type: "c" } }
  expect(await ask("PUT", "/schedules/q:s", schedule)).toBe(200)
  expect(await ask("POST", "/queues/q/pause")).toBe(200)
  expect(await ask("POST", "/queues/q/resume")).toBe(200)
  await redis.grant("reset", "on", ">password", ...rights)
  expect((await waits).status).toBe(200)
})

test("the check tries every command of the scripts and of the broker", async () => {
  const sources = new Bun.Glob("lib/{lua,queue,observe,redis}/*.{lua,ts}").scan({ cwd: root })
  const used = new Set<string>()
  for await (const path of sources) {
    const text = await Bun.file(join(root, path)).text()
    for (const [, name] of text.matchAll(
      /(?:redis\.call\(|in_chunks\(|ommand\(\[\s*|command = \[)"([A-Z]+)"/g,
    ))
      used.add(name!)
  }
  expect(used.size).toBeGreaterThan(30)
  const otherwise = ["WAIT", "PUBLISH", "XADD"]
  const untried = [...used].filter(name => ![...otherwise, ...PROBED_COMMANDS].includes(name))
  expect({ "missing in CALLS of lib/redis/rights.ts": untried }).toEqual({
    "missing in CALLS of lib/redis/rights.ts": [],
  })
})

test("hints are published in one place in Lua and in one in TypeScript, where a refusal does no harm", async () => {
  const publishing: string[] = []
  for await (const path of new Bun.Glob("lib/**/*.{lua,ts}").scan({ cwd: root }))
    if ((await Bun.file(join(root, path)).text()).includes('"PUBLISH"')) publishing.push(path)
  expect(publishing.sort()).toEqual(["lib/lua/clock.lua", "lib/redis/store.ts"])
})

test.each([
  ["refused", ["-info", "-config"], []],
  ["refused in part", ["-info"], []],
  ["renamed", [], ["--rename-command", "INFO", "", "--rename-command", "CONFIG", ""]],
] as const)(
  "INFO and CONFIG may be %s: the broker works, and /readyz says what it cannot know",
  async (_, rules, args) => {
    const user = ["--user", "broker", "on", ">password", ...(await documentedRights()), ...rules]
    const port = freePort()
    await using _server = await testRedis({
      args: ["--port", `${port}`, "--bind", "127.0.0.1", ...args, ...user],
    })
    await using broker = await startBroker("", { REDIS_URL: `redis://broker:password@127.0.0.1:${port}` })
    const { task_id } = await broker.client.submit({ type: "a" })
    expect((await broker.client.lease()).tasks).toMatchObject([{ id: task_id }])
    expect(await broker.client.readyz()).toMatchObject({
      status: "ready",
      redis: "unknown",
      durability: "unknown",
      maxmemory_policy: "unknown",
      degraded: [expect.stringContaining("Redis refuses INFO")],
    })
    expect(broker.process.log.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual([
      expect.stringContaining("make sure that it has appendonly yes"),
      expect.stringContaining("make sure that it is noeviction"),
    ])
    expect(broker.process.stderr).not.toContain("ready check")
  },
)
