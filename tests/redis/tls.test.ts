/** TLS to Redis: one server, Sentinels and a Cluster, with good and bad certificates. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { authority } from "../support/certificates.ts"
import { freePort, Process, startBroker, until } from "../support/processes.ts"
import { type RedisNode, redisCluster, sentinelTrio, type TlsFiles } from "../support/topologies.ts"

setDefaultTimeout(180_000)

let dir: string
let good: TlsFiles
let certificates: Awaited<ReturnType<typeof authority>>
beforeAll(async () => {
  dir = await mkdtemp("/tmp/tq-tls-")
  certificates = await authority(dir)
  good = await certificates.certificate("good", "IP:127.0.0.1,DNS:localhost")
})
afterAll(() => rm(dir, { recursive: true }))

/** A Redis that accepts only TLS, and a port without it. */
async function tlsRedis({ cert, key, ca }: TlsFiles, clients: "yes" | "no" = "no") {
  const [port, plain] = [freePort(), freePort()]
  const options = {
    port: `${plain}`,
    "tls-port": `${port}`,
    bind: "127.0.0.1",
    save: "",
    "tls-cert-file": cert,
    "tls-key-file": key,
    "tls-ca-cert-file": ca,
    "tls-auth-clients": clients,
    dir,
    "maxmemory-policy": "noeviction",
  }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
  const process = new Process({ cmd: ["redis-server", ...args] })
  await until("Redis listens", () => process.stdout.includes("Ready to accept connections"))
  return { port, plain, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() }
}

/** Submits a task and leases it. */
async function worksWith(env: Record<string, string>): Promise<void> {
  await using broker = await startBroker("", { REDIS_URL: "", ...env })
  const { task_id } = await broker.client.submit({ type: "t" })
  expect((await broker.client.lease({ wait_ms: 5_000 })).tasks).toMatchObject([{ id: task_id }])
}

/** The error with which a broker does not start. */
const refusal = (env: Record<string, string>): Promise<string> =>
  startBroker("", { REDIS_URL: "", REDIS_TIMEOUT_MS: "2000", ...env }).then(
    async broker => {
      await broker[Symbol.asyncDispose]()
      return "it started"
    },
    (error: Error) => error.message,
  )

test("one server, by rediss://, by REDIS_HOST, by its name, and with a client certificate", async () => {
  await using redis = await tlsRedis(good)
  const ca = { REDIS_TLS_CA: good.ca }
  await worksWith({ REDIS_URL: `rediss://127.0.0.1:${redis.port}`, ...ca })
  await worksWith({ REDIS_URL: `rediss://localhost:${redis.port}`, NODE_EXTRA_CA_CERTS: good.ca })
  await worksWith({ REDIS_HOST: "localhost", REDIS_PORT: `${redis.port}`, REDIS_TLS: "true", ...ca })
  const client = await certificates.certificate("client", "DNS:client")
  await using strict = await tlsRedis(good, "yes")
  const url = { REDIS_URL: `rediss://127.0.0.1:${strict.port}`, ...ca }
  await worksWith({ ...url, REDIS_TLS_CERT: client.cert, REDIS_TLS_KEY: client.key })
  expect(await refusal(url)).toContain("set REDIS_TLS_CERT and REDIS_TLS_KEY")
  const foreign = await (await authority(dir, "foreign")).certificate("stranger", "DNS:client")
  expect(await refusal({ ...url, REDIS_TLS_CERT: foreign.cert, REDIS_TLS_KEY: foreign.key })).toContain(
    "check REDIS_TLS_CERT",
  )
  expect(await refusal({ ...url, REDIS_TLS_CERT: client.cert, REDIS_TLS_KEY: foreign.key })).toContain(
    "REDIS_TLS_KEY",
  )
})

test("an unknown, an expired and a foreign certificate are refused, and the error names the setting", async () => {
  await using redis = await tlsRedis(good)
  const url = `rediss://127.0.0.1:${redis.port}`
  expect(await refusal({ REDIS_URL: url })).toContain("set REDIS_TLS_CA")
  await using expired = await tlsRedis(await certificates.certificate("expired", "IP:127.0.0.1", -1))
  expect(await refusal({ REDIS_URL: `rediss://127.0.0.1:${expired.port}`, REDIS_TLS_CA: good.ca })).toContain(
    "its certificate has expired",
  )
  await using other = await tlsRedis(await certificates.certificate("other", "DNS:redis.internal"))
  const wrong = { REDIS_URL: `rediss://127.0.0.1:${other.port}`, REDIS_TLS_CA: good.ca }
  expect(await refusal(wrong)).toContain("set REDIS_TLS_SERVER_NAME")
  await worksWith({ ...wrong, REDIS_TLS_SERVER_NAME: "redis.internal" })
  expect(await refusal({ REDIS_URL: `redis://127.0.0.1:${redis.port}` })).toContain("rediss://")
  expect(await refusal({ REDIS_URL: `rediss://127.0.0.1:${redis.plain}`, REDIS_TLS_CA: good.ca })).toContain(
    "if it does not speak TLS",
  )
})

const list = (nodes: readonly RedisNode[]) => nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")

test("Sentinels and their servers over TLS, with a password, before and after a failover", async () => {
  await using trio = await sentinelTrio({ tls: good, password: "secret" })
  const env = {
    REDIS_SENTINELS: list(trio.sentinels),
    REDIS_TLS: "true",
    REDIS_PASSWORD: "secret",
    REDIS_SENTINEL_PASSWORD: "secret",
  }
  expect(await refusal(env)).toContain("set REDIS_TLS_CA")
  const wrongHost = { ...env, REDIS_TLS_CA: good.ca, REDIS_TLS_SERVER_NAME: "redis.internal" }
  expect(await refusal(wrongHost)).toContain("set REDIS_TLS_SERVER_NAME")
  await using broker = await startBroker("", { REDIS_URL: "", ...env, REDIS_TLS_CA: good.ca })
  await broker.client.submit({ type: "t" })
  const master = await trio.master()
  await trio.replicated(2)
  await master.kill9()
  await trio.promoted(master)
  await until("the broker uses the new master", async () =>
    broker.client.submit({ type: "t", task_id: "after" }).then(
      () => true,
      () => false,
    ),
  )
  expect(await broker.client.status("after")).toMatchObject({ status: "queued" })
})

test.each(["hostname", "unreachable"] as const)(
  "a Cluster over TLS that is reached through one seed address, before and after a failover: announces %s",
  async announce => {
    await using cluster = await redisCluster({ tls: good, announce, password: "secret" })
    const seed = cluster.nodes[0]!
    const env = {
      REDIS_CLUSTER: `rediss://127.0.0.1:${seed.port}`,
      REDIS_TLS_CA: good.ca,
      REDIS_PASSWORD: "secret",
      // Only their host names are announced, at the TLS ports.
      ...(announce === "unreachable" && {
        REDIS_NAT_MAP: cluster.nodes.map(({ port }) => `inside.invalid:${port}=127.0.0.1:${port}`).join(","),
      }),
    }
    await using broker = await startBroker("", { REDIS_URL: "", ...env })
    const queues = Array.from({ length: 12 }, (_, i) => `q${i}`) // on all masters
    for (const queue of queues) await broker.client.submit({ type: "t", queue })
    for (const queue of queues) expect((await broker.client.lease({ queues: [queue] })).tasks).toHaveLength(1)
    const master = cluster.nodes[1]!
    const slot = 8_000
    await master.kill9()
    await cluster.promoted(master, slot)
    for (const queue of queues)
      await until(`${queue} is served`, () =>
        broker.client.submit({ type: "t", queue, task_id: `after-${queue}` }).then(
          () => true,
          () => false,
        ),
      )
  },
)
