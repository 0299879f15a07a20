import { expect, test } from "bun:test"
import { join } from "node:path"
import { readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import { directory } from "../support/processes.ts"

const text = (file: string) => Bun.file(join(import.meta.dir, "../..", file)).text()

const example = Object.fromEntries(
  (await text(".env.example"))
    .split("\n")
    .filter(line => /^[A-Z]/.test(line))
    .map(line => line.split("=") as [string, string]),
)

interface Service {
  environment?: Record<string, string>
  read_only?: boolean
  cap_drop?: string[]
  ports?: string[]
  healthcheck?: { test: string[] }
}
const compose = Bun.YAML.parse(await text("docker-compose.yml")) as { services: Record<string, Service> }

/** The names that a configuration looks up. */
function lookedUp(read: (env: Record<string, undefined>) => unknown): string[] {
  const names = new Set<string>()
  read(new Proxy({}, { get: (_, name) => void names.add(String(name)) }))
  return [...names]
}
const broker = lookedUp(readBrokerConfig)
const worker = lookedUp(readWorkerConfig)

/** Variables that only docker-compose.yml reads. */
const COMPOSE = ["BROKER_PORT", "GRAFANA_PASSWORD", "GRAFANA_PORT"]

test(".env.example names every variable, with its default", () => {
  expect(Object.keys(example).sort()).toEqual([...new Set([...broker, ...worker, ...COMPOSE])].sort())
  expect(readBrokerConfig(example)).toEqual(readBrokerConfig({}))
  expect(readWorkerConfig(example)).toEqual(readWorkerConfig({}))
})

test("Compose passes on every variable that has a use in a container", () => {
  const given = (service: string) => Object.keys(compose.services[service]!.environment!).sort()
  const without = (names: string[], ...left: string[]) => names.filter(name => !left.includes(name)).sort()
  // Compose brings the one Redis that REDIS_URL names.
  const others = broker.filter(name => /^(REDIS_(?!URL|TIMEOUT)|WAIT_REPLICAS)/.test(name))
  expect(given("broker")).toEqual(without(broker, "DATA_DIR", ...others))
  expect(given("worker")).toEqual(without(worker, "DATA_DIR", "WORKER_NAME"))
})

test("Compose publishes only the broker, and services have a read-only root and no capabilities", () => {
  for (const [name, service] of Object.entries(compose.services)) {
    expect(service.read_only).toBeTrue()
    expect(service.cap_drop).toEqual(["ALL"])
    // Grafana, of the profile monitoring, only on loopback.
    if (name === "grafana") expect(service.ports).toEqual([expect.stringMatching(/^127\.0\.0\.1:/)])
    else expect(service.ports !== undefined).toBe(name === "broker")
  }
})

test("the broker's health check in Compose asks the broker even if HTTP_PROXY is set", async () => {
  using server = Bun.serve({ port: 0, fetch: () => new Response("ok") })
  const [, ...command] = compose.services.broker!.healthcheck!.test
  const check = Bun.spawn(
    command.map(part => part.replace(":5000", `:${server.port}`)),
    { env: { PATH: process.env.PATH, HTTP_PROXY: "http://127.0.0.1:9" }, stdout: "ignore", stderr: "ignore" },
  )
  expect(await check.exited).toBe(0)
})

test("CI runs the README's test command", async () => {
  const readme = await text("README.md")
  const command = (await text(".ci/run")).trim().split("\n").at(-1)!
  expect(readme.split("\n")).toContain(command)
})

test("Bun reads a $ that is written as .env.example says", async () => {
  const written = /as \\\$ within double quotes: ("\S+")/.exec(await text(".env.example"))![1]!
  await using dir = await directory()
  await Bun.write(join(dir.path, ".env"), `SECRET=${written}\n`)
  const { stdout } = Bun.spawnSync([process.execPath, "-e", "console.log(process.env.SECRET)"], {
    cwd: dir.path,
    env: { PATH: process.env.PATH ?? "" },
  })
  expect(stdout.toString().trim()).toBe(JSON.parse(written.replace("\\$", "$")))
  expect(stdout.toString()).toContain("$")
})
