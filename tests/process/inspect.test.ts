/** `bun run inspect`: the record of a task, read from Redis, with a name for each field. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { directory, ROOT } from "../support/processes.ts"
import { ServedQueue } from "../support/served-queue.ts"

async function inspect(env: Record<string, string>, ...args: string[]) {
  const child = Bun.spawn([process.execPath, join(ROOT, "lib/process/inspect.ts"), ...args], {
    cwd: "/tmp",
    env: { PATH: process.env.PATH ?? "", ...env },
    stdout: "pipe",
    stderr: "pipe",
  })
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  const fields = new Map(
    out
      .split("\n")
      .filter(line => line !== "")
      .map(line => [line.slice(0, 22).trimEnd(), line.slice(22)]),
  )
  return { fields, errors, code }
}

test("each field of a task is printed with its name, and the keys that hold it", async () => {
  await using queue = await ServedQueue.open()
  const env = { REDIS_URL: queue.socket }
  const backoff = { kind: "exponential", delay_ms: 60_000, jitter: false } as const
  const id = await queue.submit({
    type: "mail",
    payload: { to: "ada" },
    priority: 7,
    max_retries: 2,
    backoff,
  })
  const local = id.split(":")[1]!

  const queued = await inspect(env, id)
  expect(queued.code).toBe(0)
  expect(Object.fromEntries(queued.fields)).toMatchObject({
    id,
    queue: queue.queue,
    state: "queued",
    type: '"mail"',
    attempt: "0",
    retries: "0 of 2",
    priority: "7",
    payload: '{"to":"ada"}',
    backoff_kind: "exponential",
    backoff_delay_ms: "60000",
    backoff_max_ms: "0",
    backoff_jitter: "0",
    "record in": `GET tq:{${queue.queue}}:task:${local}`,
    "listed in": `LPOS tq:{${queue.queue}}:ready:7 ${local}`,
  })

  const [task] = await queue.lease()
  const processing = await inspect(env, id)
  expect(processing.fields.get("lease")).toBe(task!.lease)
  expect(processing.fields.get("worker")).toBe("w1")
  expect(processing.fields.get("lease expires")).toEndWith(`  ${task!.lease_expires_at}`)
  expect(processing.fields.get("listed in")).toBe(`ZSCORE tq:{${queue.queue}}:leases ${local}`)

  await queue.ask("POST", "/ack", {
    task_id: id,
    lease: task!.lease,
    status: "failed",
    error: "no\x1b[2Jmailbox",
  })
  const retrying = await inspect(env, id)
  expect(retrying.fields.get("state")).toBe("retrying")
  expect(retrying.fields.get("retries")).toBe("1 of 2")
  expect(retrying.fields.get("error")).toBe('"no\\u001b[2Jmailbox"')
  expect(retrying.fields.get("earlier attempt")).toContain('"outcome":"failed"')
})

test("a long payload is cut, and the key that holds it is named", async () => {
  await using queue = await ServedQueue.open()
  const id = await queue.submit({ payload: "x".repeat(5_000) })
  const child = await inspect({ REDIS_URL: queue.socket }, id)
  expect(child.fields.get("payload")).toBe(`"${"x".repeat(1_999)}… (5002 characters)`)
  expect(child.fields.get("payload in")).toBe(`GET tq:{${queue.queue}}:payload:${id.split(":")[1]}`)
})

test("a missing id, an unknown task and a Redis that is not there have an error each", async () => {
  await using queue = await ServedQueue.open()
  await using empty = await directory()
  const [missing, unknown, unreachable, noServer, twoIds] = await Promise.all([
    inspect({}),
    inspect({ REDIS_URL: queue.socket }, "emails:nobody"),
    inspect({ REDIS_URL: "redis://127.0.0.1:1" }, "a"),
    inspect({ DATA_DIR: join(empty.path, "none") }, "a"),
    inspect({ REDIS_URL: queue.socket }, "a", "b"),
  ])
  expect([missing!.code, missing!.errors]).toEqual([2, expect.stringContaining("id of a task is missing")])
  expect([unknown!.code, unknown!.errors]).toEqual([1, expect.stringContaining('"emails:nobody"')])
  expect([unreachable!.code, unreachable!.errors]).toEqual([1, expect.stringContaining("could not be read")])
  expect([noServer!.code, noServer!.errors]).toEqual([1, expect.stringContaining("no Redis is running in")])
  expect([twoIds!.code, twoIds!.errors]).toEqual([2, expect.stringContaining('unknown argument "b"')])
})
