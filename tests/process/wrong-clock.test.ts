/** A broker whose machine has a wrong clock: tasks are kept, retried and deleted by the clock of Redis. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import type { LeasedTask } from "../../lib/wire/working.ts"
import { TOKEN } from "../support/harness.ts"
import { listening, Process, ROOT } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const HOUR = 3_600_000
const WRONG_CLOCK = join(ROOT, "tests/support/wrong-clock.ts")

test.each([HOUR, -HOUR])(
  "a broker whose clock is off by %p ms deletes and retries nothing that it should not",
  async off => {
    await using redis = await testRedis()
    await using broker = new Process({
      cmd: [process.execPath, "--preload", WRONG_CLOCK, join(ROOT, "broker.ts")],
      env: {
        CLOCK_OFF_MS: String(off),
        API_SECRET_TOKEN: TOKEN,
        REDIS_URL: redis.socket,
        HOST: "127.0.0.1",
        PORT: "0",
      },
    })
    const { url } = await listening(broker, TOKEN)
    // biome-ignore lint/suspicious/noExplicitAny: the test states what it expects
    const call = async (method: string, path: string, body?: object): Promise<any> => {
      const headers = { "x-api-token": TOKEN, "content-type": "application/json" }
      const answer = await fetch(url + path, { method, headers, ...(body && { body: JSON.stringify(body) }) })
      expect([path, answer.status]).toEqual([path, 200])
      return answer.headers.get("content-type")!.startsWith("text/") ? answer.text() : answer.json()
    }
    const post = (path: string, body: object) => call("POST", path, body)
    // The log proves that the clock is wrong.
    expect(Math.abs(Date.parse(String(broker.log[0]!.time)) - Date.now() - off)).toBeLessThan(HOUR / 2)

    const from = Date.now()
    await post("/submit", [
      { type: "dies", max_retries: 0 },
      { type: "ends" },
      { type: "is late", expires_in_ms: HOUR / 2 },
      { type: "waits", run_at: from + HOUR / 2 },
    ])
    const { tasks }: { tasks: LeasedTask[] } = await post("/lease", { max: 2, worker: "w" })
    expect(tasks.map(({ type }) => type)).toEqual(["dies", "ends"])
    const [dies, ends] = tasks.map(({ id, lease }) => ({ task_id: id, lease }))
    await post("/ack", { ...dies, status: "failed" })
    await post("/ack", ends!)
    for (const path of ["/dlq/purge", "/dlq/retry"])
      for (const [filter, count] of [
        [{ older_than_ms: HOUR / 2 }, 0],
        [{ newer_than_ms: HOUR / 2 }, 1],
      ] as const) {
        const answer = await post(path, { ...filter, dry_run: true })
        expect([path, filter, answer.purged ?? answer.requeued]).toEqual([path, filter, count])
      }
    expect(await post("/dlq/purge", { older_than_ms: HOUR / 2 })).toEqual({ purged: 0 })
    for (const older of [false, true]) {
      const filter = `${older ? "older" : "newer"}_than_ms=${HOUR / 2}`
      expect((await call("GET", `/dlq?${filter}`)).tasks).toHaveLength(older ? 0 : 1)
      expect((await call("GET", `/dlq/groups?${filter}`)).groups).toHaveLength(older ? 0 : 1)
    }
    await post("/audit?fix=true", {})
    for (const [state, type] of [
      ["dead", "dies"],
      ["done", "ends"],
      ["queued", "is late"],
      ["scheduled", "waits"],
    ])
      expect((await call("GET", `/tasks?state=${state}`)).tasks.map((task: LeasedTask) => task.type)).toEqual(
        [type],
      )

    // The times that it shows are those of Redis, also while a request waits at it.
    await call("PUT", "/queues/idle/settings", {})
    const waiting = fetch(`${url}/get?queue=idle&wait_ms=20000`, { headers: { "x-api-token": TOKEN } })
    let metrics = ""
    while (!metrics.includes("\ntq_long_polls 1\n")) metrics = await call("GET", "/metrics")
    const polledAt = Number(/^tq_last_poll_timestamp_seconds\{queue="idle"\} (.+)$/m.exec(metrics)![1])
    expect(Math.abs(polledAt * 1_000 - Date.now())).toBeLessThan(HOUR / 2)
    const [worker] = (await call("GET", "/workers")).workers
    expect(Math.abs(worker.last_seen_at - Date.now())).toBeLessThan(HOUR / 2)
    await broker.stop()
    expect((await waiting).status).toBe(204)
  },
)
