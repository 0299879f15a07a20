/** The documents that list environment variables against the code that reads them. */
import { expect, test } from "bun:test"
import { readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import type { Env } from "../../lib/config/reader.ts"
import { bare, read, table } from "../support/documents.ts"

/** The variables that a function reads, with what it returns for them if none is set. */
function variables(reader: (env: Env) => object): Map<string, string> {
  const names = new Set<string>()
  const env = new Proxy({}, { get: (_, name) => void names.add(String(name)) })
  const config = reader(env) as Record<string, unknown>
  const member = (name: string) => name.toLowerCase().replace(/_(.)/g, (_, letter) => letter.toUpperCase())
  return new Map([...names].map(name => [name, String(config[member(name)] ?? "–")]))
}

test("lib/config/README.md lists each variable with its reader and its default", async () => {
  const broker = variables(readBrokerConfig)
  const worker = variables(readWorkerConfig)
  broker.set("REDIS_PORT", "6379") // no member of its own: it becomes part of redisUrl
  expect(readBrokerConfig({ REDIS_HOST: "a", API_SECRET_TOKEN: "b" }).redisUrl).toBe("redis://a:6379")
  broker.set("REDIS_TLS", "false")
  expect(readBrokerConfig({}).redisTls).toBeUndefined()
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

test("the settings in the README agree with the full table", async () => {
  const header = "| variable | read by | default | meaning |"
  const known = (await table("lib/config/README.md", header)).map(row => row.slice(0, 3))
  for (const row of await table("README.md", header)) expect(known).toContainEqual(row.slice(0, 3))
})

test("Compose sets or passes on every variable of the broker and the worker", async () => {
  const compose = await read("docker-compose.yml")
  // Not useful in Compose: it brings a single Redis server, and each worker creates its own name.
  const unused = /^(REDIS_(?!URL|TIMEOUT)|WAIT_REPLICAS|DATA_DIR|WORKER_NAME)/
  const names = [...variables(readBrokerConfig).keys(), ...variables(readWorkerConfig).keys()]
  for (const name of names.filter(name => !unused.test(name))) expect(compose).toContain(`      ${name}: `)
})

test(".env.example names every variable of the table", async () => {
  const names = [...(await read(".env.example")).matchAll(/^#? ?([A-Z_]+)=/gm)].map(([, name]) => name!)
  expect([...new Set(names)].sort()).toEqual(
    (await table("lib/config/README.md", "| variable | read by | default | meaning |"))
      .map(([name]) => bare(name!))
      .sort(),
  )
})
