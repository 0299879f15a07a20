/** nginx and HAProxy with the configurations in lib/deploy, in front of two brokers. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { join } from "node:path"
import { BrokerProblem, BrokerUnreachable, Client } from "../../lib/client.ts"
import { root } from "../support/documents.ts"
import { TOKEN } from "../support/harness.ts"
import { directory, freePort, Process, startBroker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(180_000)

interface Ports {
  front: number
  brokers: readonly string[]
}

/** The configuration with other ports. */
async function configured(file: string, { front, brokers }: Ports): Promise<string> {
  const text = await Bun.file(join(root, "lib/deploy", file)).text()
  return text
    .replace(/127\.0\.0\.1:5000\b/, `127.0.0.1:${brokers[0]}`)
    .replace(/127\.0\.0\.1:5001\b/, `127.0.0.1:${brokers[1]}`)
    .replace(/listen 8080/, `listen 127.0.0.1:${front}`)
    .replace(/bind :8080/, `bind 127.0.0.1:${front}`)
}

const PROXIES: Record<string, (dir: string, ports: Ports) => Promise<string[]>> = {
  nginx: async (dir, ports) => {
    const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      name => `${name}_temp_path ${dir}/${name};`,
    )
    await Bun.write(
      `${dir}/nginx.conf`,
      `pid ${dir}/pid; daemon off; master_process off; error_log stderr; events {} http { access_log off; ${places.join(" ")} ${await configured("nginx.conf", ports)} }`,
    )
    return ["-p", dir, "-e", "stderr", "-c", `${dir}/nginx.conf`]
  },
  haproxy: async (dir, ports) => {
    await Bun.write(`${dir}/haproxy.cfg`, await configured("haproxy.cfg", ports))
    return ["-db", "-f", `${dir}/haproxy.cfg`]
  },
}

for (const [name, prepare] of Object.entries(PROXIES)) {
  const program = Bun.which(name)
  if (program === null) console.warn(`${name} is not installed: its configuration was not tried`)
  test.skipIf(program === null)(
    `${name}: long polls, events, a client that leaves, and a broker that is killed`,
    async () => {
      await using all = new AsyncDisposableStack()
      const redis = all.use(await testRedis())
      const dir = all.use(await directory())
      const brokers = [
        all.use(await startBroker(redis.socket)),
        all.use(await startBroker(redis.socket)),
      ] as const
      const front = freePort()
      const args = await prepare(dir.path, { front, brokers: brokers.map(({ port }) => port) })
      const proxy = all.use(new Process({ cmd: [program!, ...args] }))
      const client = new Client({ url: `http://127.0.0.1:${front}`, token: TOKEN })
      await until("the proxy answers", () => {
        if (!proxy.running) throw new Error(proxy.stdout + proxy.stderr)
        return client.healthz().then(
          () => true,
          () => false,
        )
      })
      // Events arrive while the stream is open, and a long poll gets the task of a later submit.
      const events = client.events({ event: ["submitted", "done"] })[Symbol.asyncIterator]()
      expect((await events.next()).value!.event).toBe("listening")
      const polled = client.lease({ wait_ms: 20_000 })
      const { task_id } = await client.submit({ type: "t" })
      expect((await events.next()).value!.data.task_id).toBe(task_id)
      const [task] = (await polled).tasks
      await client.ack({ task_id, lease: task!.lease })
      expect((await events.next()).value!.event).toBe("done")
      await events.return?.(undefined as never)
      // The poll of a client that has left takes no task.
      const leaving = new AbortController()
      const left = client.lease(
        { queues: ["left"], worker: "leaver", wait_ms: 20_000 },
        { signal: leaving.signal },
      )
      await until("it polls", async () => (await client.workers()).workers.length > 0)
      leaving.abort()
      await left.catch(() => {})
      const { task_id: late } = await client.submit({ type: "t", queue: "left" })
      await until("another client gets the task", async () =>
        (await client.lease({ queues: ["left"] })).tasks.some(({ id }) => id === late),
      )
      await brokers[0].process.kill9()
      for (let i = 0; i < 50; i++)
        await until("a request succeeds", () =>
          client.submit({ type: "t", task_id: `after-${i}` }).then(
            () => true,
            error => {
              if (error instanceof BrokerUnreachable || (error instanceof BrokerProblem && error.retryable))
                return false
              throw error
            },
          ),
        )
    },
  )
}
