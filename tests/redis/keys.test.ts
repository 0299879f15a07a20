/** The list of keys in lib/redis/README.md, against lib/redis/keys.ts and a Redis in use. */
import { expect, test } from "bun:test"
import { GROUP_KEYS, type KeyDeclaration, QUEUE_KEYS, SHARED_KEYS } from "../../lib/redis/keys.ts"
import { bare, table } from "../support/documents.ts"
import { ServedQueue } from "../support/served-queue.ts"

const READ_WITH = {
  string: "GET",
  list: "LRANGE 0 9",
  set: "SMEMBERS",
  zset: "ZRANGE 0 9 WITHSCORES",
  hash: "HGETALL",
  stream: "XREVRANGE + - COUNT 9",
  channel: "SUBSCRIBE",
} as const

/** A row of the table. The example of a key ends with what the declaration says, in angle brackets. */
function row(key: string, { type, by, content }: KeyDeclaration): string[] {
  const name = by === undefined ? key : `${key.replace(/:$/, "")}:<${by}>`
  const [command, ...range] = READ_WITH[type].split(" ")
  return [name, type, content, [command, name, ...range].join(" ")]
}

test("the document lists every key and channel, with its content and a command that reads it", async () => {
  const rows = await table("lib/redis/README.md", "| key | type | content | read it |")
  expect(rows.map(cells => cells.map(bare))).toEqual(
    [
      ...Object.entries({ ...QUEUE_KEYS, ...GROUP_KEYS }).map(([name, declaration]) =>
        row(`tq:{<queue>}:${name}`, declaration),
      ),
      ...Object.entries(SHARED_KEYS).map(([key, declaration]) => row(key, declaration)),
    ].map(cells => cells.map(bare)),
  )
})

test("each key of a queue in use has the type that its declaration says", async () => {
  await using queue = await ServedQueue.open({ maxQueueBytes: 1_000_000 })
  await queue.ask("POST", "/submit", {
    type: "t",
    queue: queue.queue,
    payload: "x".repeat(1_000),
    task_id: "a",
  })
  await queue.submit({ delay_ms: 60_000, expires_in_ms: 120_000, unique_key: "u" })
  await queue.submit({ max_retries: 0, priority: 9 })
  const [dead] = await queue.lease()
  await queue.ask("POST", "/ack", { task_id: dead!.id, lease: dead!.lease, status: "failed" })
  const done = await queue.submit({ priority: 9 })
  const [leased] = await queue.lease()
  await queue.ask("POST", "/ack", { task_id: done, lease: leased!.lease })
  const kept = await queue.submit({ priority: 9, result_ttl_ms: 60_000 })
  const [own] = await queue.lease()
  await queue.ask("POST", "/ack", { task_id: kept, lease: own!.lease })
  await queue.ask("POST", `/cancel/${await queue.submit()}`)
  await queue.submit({ priority: 9 })
  await queue.lease()
  await queue.ask("PUT", `/queues/${queue.queue}/settings`, { concurrency: 9 })
  await queue.ask("PUT", `/schedules/${queue.queue}:s`, { cron: "@daily", task: { type: "t" } })

  const { redis } = queue.direct
  const found = new Map<string, string>()
  for (const key of await redis.keys(`tq:{${queue.queue}}:*`))
    found.set(key.split(":")[2]!, await redis.type(key))
  const declared = Object.entries<KeyDeclaration>(QUEUE_KEYS).filter(([, { type }]) => type !== "channel")
  expect([...found].sort()).toEqual(
    declared.map(([name, { type }]) => [name, type] as [string, string]).sort(),
  )
})
