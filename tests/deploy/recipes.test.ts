/**
 * Runs the code of lib/deploy/recipes.md. A recipe is skipped, with a message, if its program is not installed.
 * RECIPES=1 also installs web frameworks from npm into a temporary directory.
 */
import { expect, setDefaultTimeout, test } from "bun:test"
import { copyFile, mkdir } from "node:fs/promises"
import { join } from "node:path"
import { $, SQL } from "bun"
import { findPrograms, startPostgres } from "../bench/contenders/postgres.ts"
import { code, read, root } from "../support/documents.ts"
import { TOKEN } from "../support/harness.ts"
import {
  brokerProcess,
  directory,
  freePort,
  listening,
  Process,
  startBroker,
  startWorker,
  until,
} from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(180_000)

const RECIPES = "lib/deploy/recipes.md"
const recipe = (heading: string, language: string) => code(RECIPES, heading, language)

/** A broker of its own, with a Redis of its own. */
async function ownBroker(all: AsyncDisposableStack) {
  const redis = all.use(await testRedis())
  return { redis, ...all.use(await startBroker(redis.socket)) }
}

const hasPostgres = findPrograms() !== undefined
if (!hasPostgres) console.warn("PostgreSQL is not installed: the outbox was not tried")
test.skipIf(!hasPostgres)(
  "outbox: a relay that is killed at any step neither loses a task nor submits it twice",
  async () => {
    await using all = new AsyncDisposableStack()
    const postgres = all.use((await startPostgres())!)
    const broker = await ownBroker(all)
    const dir = all.use(await directory())
    const sql = new SQL(postgres.url)
    all.defer(() => sql.close())
    const text = await read(RECIPES)
    const [create, insert] = [...text.matchAll(/```sql\n(.*?)\n```/gs)].map(([, block]) => block!)
    await sql.unsafe(create!)
    const ids = Array.from({ length: 300 }, (_, i) => `mail-order-${i}`)
    for (const id of ids) await sql.unsafe(insert!.replace("mail-order-1042", id))

    // Each of the first requests of a relay ends it: before the broker has it, before the answer, and after the answer.
    let requests = 0
    let relay: Process | undefined
    const proxy = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        const step = ["before", "unanswered", "answered", "lives"][
          Math.min(requests++ % 4, requests > 16 ? 3 : 4)
        ]
        const body = await request.text()
        if (step === "before") await relay!.kill9()
        if (step === "before") return new Response(null, { status: 500 })
        const { method, headers } = request
        const answer = await fetch(broker.url + new URL(request.url).pathname, { method, headers, body })
        if (step === "unanswered") await relay!.kill9()
        if (step === "answered") setImmediate(() => void relay!.kill9())
        return new Response(await answer.text(), { status: answer.status })
      },
    })
    all.defer(() => proxy.stop(true))
    await Bun.write(`${dir.path}/relay.ts`, await recipe("The relay, of which any number may run:", "ts"))
    const env = {
      BROKER_URL: `http://127.0.0.1:${proxy.port}`,
      API_SECRET_TOKEN: TOKEN,
      DATABASE_URL: postgres.url,
    }
    let starts = 0
    await until("the outbox is empty", async () => {
      if (relay === undefined || !relay.running) {
        starts++
        relay = new Process({ cmd: [process.execPath, `${dir.path}/relay.ts`], env, cwd: dir.path })
        all.use(relay)
      }
      const [{ left }] = await sql`SELECT count(*)::int AS left FROM outbox`
      return left === 0
    })
    expect(starts).toBeGreaterThan(3)
    const { tasks } = await broker.client.tasks({ state: "queued", limit: 1_000 })
    expect(tasks.map(({ id }) => id).sort()).toEqual(ids.sort())
  },
)

/** Sends the request of a user twice. Expects one task. */
async function expectOneTask(url: string, { client }: Awaited<ReturnType<typeof ownBroker>>) {
  const send = () =>
    fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: '{"to": "ada"}' })
  await until("the program answers", () =>
    send().then(
      ({ status }) => status === 202,
      () => false,
    ),
  )
  expect((await send()).status).toBe(202)
  const { tasks } = await client.tasks({ state: "queued" })
  expect(tasks).toMatchObject([{ id: "mail-7", type: "send-mail", payload: { to: "ada" } }])
}

/** The environment of a program that submits. */
const environment = (url: string) => ({
  BROKER_URL: url,
  API_SECRET_TOKEN: TOKEN,
  PYTHONPATH: join(root, "lib/python"),
  PYTHONDONTWRITEBYTECODE: "1",
})

const wantsNpm = Boolean(process.env.RECIPES) && Bun.which("npm") !== null
if (!wantsNpm) console.warn("Express and Next.js were not tried: set RECIPES=1 to install them from npm")
test.skipIf(!wantsNpm)("Express submits a task", async () => {
  await using all = new AsyncDisposableStack()
  const broker = await ownBroker(all)
  const dir = all.use(await directory())
  await $`npm install --no-audit --no-fund express`.cwd(dir.path).quiet()
  await Bun.write(`${dir.path}/app.mjs`, await recipe("### Express", "js"))
  const port = `${freePort()}`
  all.use(
    new Process({ cmd: ["node", "app.mjs"], env: { ...environment(broker.url), PORT: port }, cwd: dir.path }),
  )
  await expectOneTask(`http://127.0.0.1:${port}/orders/7/mail`, broker)
})

test.skipIf(!wantsNpm)(
  "Next.js submits a task",
  async () => {
    await using all = new AsyncDisposableStack()
    const broker = await ownBroker(all)
    const dir = all.use(await directory())
    await $`npm install --no-audit --no-fund next react react-dom`.cwd(dir.path).quiet()
    await mkdir(`${dir.path}/app/api/mail/[id]`, { recursive: true })
    await Bun.write(`${dir.path}/app/api/mail/[id]/route.js`, await recipe("### Next.js", "js"))
    const layout = "export default ({ children }) => <html><body>{children}</body></html>"
    await Bun.write(`${dir.path}/app/layout.jsx`, layout)
    const port = `${freePort()}`
    const env = { ...environment(broker.url), NEXT_TELEMETRY_DISABLED: "1" }
    const next = ["node", "node_modules/next/dist/bin/next"]
    await $`${[...next, "build"]}`
      .cwd(dir.path)
      .env({ ...process.env, ...env })
      .quiet()
    all.use(new Process({ cmd: [...next, "start", "-H", "127.0.0.1", "-p", port], env, cwd: dir.path }))
    await expectOneTask(`http://127.0.0.1:${port}/api/mail/7`, broker)
  },
  300_000,
)

/** The Python that has the module: Debian's packages belong to /usr/bin/python3. */
const pythonWith = (...modules: string[]) =>
  ["python3", "/usr/bin/python3"].find(
    python =>
      Bun.which(python) !== null && Bun.spawnSync([python, "-c", `import ${modules.join(", ")}`]).success,
  )

const fastapi = pythonWith("fastapi", "uvicorn")
if (fastapi === undefined)
  console.warn("FastAPI (python3-fastapi, python3-uvicorn) is not installed: it was not tried")
test.skipIf(fastapi === undefined)("FastAPI submits a task", async () => {
  await using all = new AsyncDisposableStack()
  const broker = await ownBroker(all)
  const dir = all.use(await directory())
  await Bun.write(`${dir.path}/main.py`, await recipe("### FastAPI", "python"))
  const port = `${freePort()}`
  const cmd = [fastapi!, "-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", port]
  all.use(new Process({ cmd, env: environment(broker.url), cwd: dir.path }))
  await expectOneTask(`http://127.0.0.1:${port}/orders/7/mail`, broker)
})

const django = pythonWith("django")
if (django === undefined) console.warn("Django (python3-django) is not installed: it was not tried")
test.skipIf(django === undefined)("Django submits a task", async () => {
  await using all = new AsyncDisposableStack()
  const broker = await ownBroker(all)
  const dir = all.use(await directory())
  await Bun.write(`${dir.path}/views.py`, await recipe("### Django", "python"))
  const site = `
from django.conf import settings
settings.configure(DEBUG=True, ROOT_URLCONF=__name__, SECRET_KEY="x", ALLOWED_HOSTS=["*"])
from django.core.management import execute_from_command_line
from django.urls import path
import views
urlpatterns = [path("orders/<str:id>/mail", views.send_mail)]
if __name__ == "__main__":
    import sys
    execute_from_command_line(sys.argv)
`
  await Bun.write(`${dir.path}/site_.py`, site)
  const port = `${freePort()}`
  const cmd = [django!, "site_.py", "runserver", "--noreload", `127.0.0.1:${port}`]
  all.use(new Process({ cmd, env: environment(broker.url), cwd: dir.path }))
  await expectOneTask(`http://127.0.0.1:${port}/orders/7/mail`, broker)
})

test("backup and restore: tasks of the backup are there, leases have lapsed, and the audit finds nothing", async () => {
  await using all = new AsyncDisposableStack()
  const dir = all.use(await directory())
  const start = async (data: string, port: string, ...args: string[]) => {
    await mkdir(data, { recursive: true })
    const options = [
      "--port",
      port,
      "--bind",
      "127.0.0.1",
      "--dir",
      data,
      "--save",
      "",
      "--maxmemory-policy",
      "noeviction",
    ]
    const redis = all.use(new Process({ cmd: ["redis-server", ...options, ...args] }))
    await until("Redis listens", () => redis.stdout.includes("Ready to accept connections"))
    return redis
  }
  const port = `${freePort()}`
  await start(`${dir.path}/old`, port, "--appendonly", "yes")
  const old = all.use(await startBroker("", { REDIS_URL: `redis://127.0.0.1:${port}` }))
  const submit = async (task_id: string) =>
    (await old.client.submit({ type: "t", task_id, timeout_ms: 100 })).task_id
  for (const id of ["done", "running", "waiting"]) await submit(id)
  const [done] = (await old.client.lease({ max: 2 })).tasks
  await old.client.ack({ task_id: done!.id, lease: done!.lease })
  const script = await recipe("## Backup and restore", "bash")
  const backup = $`bash -euc ${`redis-cli() { command redis-cli -p ${port} "$@"; }\n${script}`}`
  await backup.cwd(dir.path).quiet()
  await submit("lost")
  await old.process.stop()

  const other = `${freePort()}`
  await mkdir(`${dir.path}/new`)
  await copyFile(`${dir.path}/backup.rdb`, `${dir.path}/new/dump.rdb`)
  await start(`${dir.path}/new`, other, "--appendonly", "no")
  await $`redis-cli -p ${other} CONFIG SET appendonly yes`.quiet()
  const restored = all.use(await startBroker("", { REDIS_URL: `redis://127.0.0.1:${other}` }))
  const { client } = restored
  expect((await client.status("done")).status).toBe("done")
  expect((await client.status("waiting")).status).toBe("queued")
  await expect(client.status("lost")).rejects.toThrow(/task_not_found/)
  await until("the lease has lapsed", async () => (await client.status("running")).crashes === 1)
  expect((await client.status("running")).status).toBe("queued")
  expect((await client.audit()).found).toEqual([])
  expect((await client.lease({ max: 5 })).tasks.map(({ id }) => id).sort()).toEqual(["running", "waiting"])
})

test("backup and restore of the embedded Redis", async () => {
  await using all = new AsyncDisposableStack()
  const dir = all.use(await directory())
  const start = async () => {
    const process = all.use(brokerProcess({ HOST: "127.0.0.1", PORT: "0" }, dir.path))
    await process.logged("The broker is listening")
    return listening(process, (await Bun.file(`${dir.path}/.data/token`).text()).trim())
  }
  const old = await start()
  await old.client.submit({ type: "t", task_id: "kept" })
  const backup = await recipe("## Backup and restore", "bash")
  await $`bash -euc ${`redis-cli() { command redis-cli -s .data/redis.sock "$@"; }\n${backup}`}`
    .cwd(dir.path)
    .quiet()
  await old.client.submit({ type: "t", task_id: "lost" })
  await old.process.stop()
  await $`bash -euc ${await recipe("### The embedded Redis", "bash")}`.cwd(dir.path).quiet()

  const { client } = await start()
  expect((await client.status("kept")).status).toBe("queued")
  await expect(client.status("lost")).rejects.toThrow(/task_not_found/)
})

test("upgrade: brokers are replaced one by one, and no task fails, lapses or is lost", async () => {
  await using all = new AsyncDisposableStack()
  const redis = all.use(await testRedis())
  const runs = all.use(await directory())
  const brokers = [all.use(await startBroker(redis.socket)), all.use(await startBroker(redis.socket))]
  all.use(await startWorker(brokers[0]!.url, runs))
  const ids: string[] = []
  let upgraded = false
  const submitting = (async () => {
    for (let n = 0; !upgraded; n++) {
      const id = `task-${n}`
      for (let at = n; ; at++)
        try {
          await brokers[at % 2]!.client.submit({ type: "record", task_id: id })
          break
        } catch (error) {
          if (!(error as { retryable?: boolean }).retryable) throw error
        }
      ids.push(id)
      await Bun.sleep(2)
    }
  })()
  for (const at of [0, 1]) {
    const before = ids.length
    await until("some are submitted", () => ids.length > before + 100)
    const { process, port } = brokers[at]!
    expect(await process.stop()).toBe(0)
    brokers[at] = all.use(await startBroker(redis.socket, { PORT: port }))
  }
  const before = ids.length
  await until("some more are submitted", () => ids.length > before + 100)
  upgraded = true
  await submitting
  for (const id of ids)
    expect(await brokers[0]!.client.status(id, { wait_ms: 20_000 })).toMatchObject({
      status: "done",
      attempt: 1,
      retries: 0,
      crashes: 0,
    })
})

test("the Prometheus of Compose scrapes the port that the broker has there, and its configuration is valid", async () => {
  const compose = Bun.YAML.parse(await read("docker-compose.yml")) as {
    services: Record<string, { environment: Record<string, string>; volumes: string[] }>
  }
  const prometheus = Bun.YAML.parse(await read("lib/deploy/prometheus.yml")) as {
    scrape_configs: { static_configs: { targets: string[] }[] }[]
  }
  const port = /:-(\d+)\}/.exec(compose.services.broker!.environment.METRICS_PORT!)![1]
  expect(prometheus.scrape_configs[0]!.static_configs[0]!.targets).toEqual([`broker:${port}`])
  for (const { volumes = [] } of Object.values(compose.services))
    for (const [file] of volumes.map(volume => volume.split(":")).filter(([file]) => file!.startsWith("./")))
      expect(await Bun.file(join(root, file!)).exists(), file).toBeTrue()
  const promtool = Bun.which("promtool") ?? Bun.which(join(root, "node_modules/.bin/promtool"))
  if (promtool === null) return console.warn("promtool is not installed: the configuration was not checked")
  await using dir = await directory()
  const text = (await read("lib/deploy/prometheus.yml"))
    .replace("/etc/prometheus", join(root, "lib/observe"))
    .replace("/tmp/token", `${dir.path}/token`)
  await Bun.write(`${dir.path}/token`, TOKEN)
  await Bun.write(`${dir.path}/prometheus.yml`, text)
  const check = Bun.spawnSync([promtool, "check", "config", `${dir.path}/prometheus.yml`])
  expect([check.exitCode, check.stderr.toString()]).toEqual([0, expect.any(String)])
})

const prometheus = Bun.which("prometheus")
if (prometheus === null) console.warn("Prometheus is not installed: it was not run")
test.skipIf(prometheus === null)("Prometheus scrapes a broker and loads the rules", async () => {
  await using all = new AsyncDisposableStack()
  const redis = all.use(await testRedis())
  const dir = all.use(await directory())
  const metrics = freePort()
  const { client } = all.use(await startBroker(redis.socket, { METRICS_PORT: `${metrics}` }))
  await client.submit({ type: "t" })
  const text = (await read("lib/deploy/prometheus.yml"))
    .replace("/etc/prometheus", join(root, "lib/observe"))
    .replace("broker:9090", `127.0.0.1:${metrics}`)
    .replace("15s", "1s")
    .replace("/tmp/token", `${dir.path}/token`)
  await Bun.write(`${dir.path}/token`, TOKEN)
  await Bun.write(`${dir.path}/prometheus.yml`, text)
  const address = `127.0.0.1:${freePort()}`
  const options = [
    `--config.file=${dir.path}/prometheus.yml`,
    `--storage.tsdb.path=${dir.path}/data`,
    `--web.listen-address=${address}`,
  ]
  all.use(new Process({ cmd: [prometheus!, ...options] }))
  type Api = { data: { result: { value: [number, string] }[]; groups: unknown[] } }
  const ask = async (path: string) =>
    ((await (await fetch(`http://${address}/api/v1/${path}`)).json()) as Api).data
  const query = encodeURIComponent('sum(tq_tasks{state="queued"})')
  await until("Prometheus has scraped the task", () =>
    ask(`query?query=${query}`).then(
      ({ result }) => result[0]?.value[1] === "1",
      () => false,
    ),
  )
  expect((await ask("rules")).groups).toHaveLength(1)
})

test("the collector of the recipe receives what brokers send", async () => {
  const collector = Bun.YAML.parse(await recipe("## OpenTelemetry collector", "yaml")) as {
    receivers: Record<string, { protocols: Record<string, { endpoint: string }> }>
    service: { pipelines: Record<string, Record<string, string[]>> }
  }
  const [endpoint] = /http:\/\/collector:\d+/.exec(await read(RECIPES))!
  expect(collector.receivers.otlp!.protocols.http!.endpoint).toEndWith(`:${new URL(endpoint).port}`)
  expect(collector.service.pipelines.traces!.receivers).toEqual(["otlp"])
})
