/** NATS JetStream with its file store: a work queue that is fetched in batches. Acks are not answered. */
import { AckPolicy, type Consumer, connect, RetentionPolicy, StorageType } from "nats"
import { freePort, Process, until } from "../../support/processes.ts"
import { type Contender, inLanes, PAYLOAD } from "../contender.ts"
import { scratchDirectory } from "../scratch.ts"

export async function startNats(): Promise<Contender | undefined> {
  if (Bun.which("nats-server") === null) return undefined
  await using opened = new AsyncDisposableStack()
  const port = freePort()
  const cmd = ["nats-server", "-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", scratchDirectory()]
  const server = opened.use(new Process({ cmd }))
  await until("nats-server is ready", () => server.stderr.includes("Server is ready"))
  const connection = await connect({ servers: `127.0.0.1:${port}` })
  opened.defer(() => connection.close())
  const manager = await connection.jetstreamManager()
  await manager.streams.add({
    name: "bench",
    subjects: ["bench"],
    storage: StorageType.File,
    retention: RetentionPolicy.Workqueue,
  })
  await manager.consumers.add("bench", {
    durable_name: "bench",
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 10_000,
  })
  const stream = connection.jetstream()
  const consumer: Consumer = await stream.consumers.get("bench", "bench")
  const data = Buffer.from(JSON.stringify(PAYLOAD))
  const opening = opened.move()
  return {
    name: "NATS JetStream",
    servers: { "nats-server": server.pid },
    submit: load =>
      inLanes(load, async count => {
        await Promise.all(Array.from({ length: count }, () => stream.publish("bench", data)))
      }),
    async work(load) {
      await inLanes(load, async count => {
        for (let left = count; left > 0; )
          for await (const message of await consumer.fetch({ max_messages: left, expires: 5_000 })) {
            message.ack()
            left--
          }
      })
      await connection.flush()
    },
    [Symbol.asyncDispose]: () => opening.disposeAsync(),
  }
}
