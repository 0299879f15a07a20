/** Runs `bun run tq` against a broker of its own. */
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { BUILT_IN } from "../../lib/handlers.ts"
import { createLog } from "../../lib/log.ts"
import { TaskRunner } from "../../lib/worker/task-runner.ts"
import { freshName, TOKEN, testBroker } from "./harness.ts"
import { ROOT } from "./processes.ts"
import { sharedRedis } from "./redis.ts"

interface Ran {
  code: number
  out: string
  error: string
}

export async function run(
  env: Record<string, string>,
  args: readonly string[],
  { stdin = "", command = [process.execPath, join(ROOT, "lib/process/tq.ts")], cwd = "/tmp" } = {},
): Promise<Ran> {
  const child = Bun.spawn([...command, ...args], {
    env: { PATH: process.env.PATH ?? "", ...env },
    cwd,
    stdin: Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
  })
  const [out, error, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { code, out, error }
}

/** A broker, a worker on a queue of its own, and `tq` with their settings. */
export async function scene(all: AsyncDisposableStack, settings: Parameters<typeof testBroker>[0] = {}) {
  const broker = all.use(await testBroker(settings, (await sharedRedis()).socket))
  const queue = freshName()
  const client = new Client({ url: broker.url, token: TOKEN })
  const worker = new TaskRunner({
    client,
    handlers: new Map(Object.entries(BUILT_IN)),
    log: createLog("silent"),
    name: `worker-${queue}`,
    queues: [queue],
    concurrency: 5,
    drainMs: 0,
    waitMs: 50,
  })
  all.defer(async () => void (await worker.stop()))
  const env = { BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN }
  return { broker, queue, client, env, tq: (...args: string[]) => run(env, args) }
}
