/** A broker and a worker whose output is not read: they continue, drop lines, and report that when it is read again. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs"
import { join } from "node:path"
import { Client } from "../../lib/client.ts"
import { TOKEN } from "../support/harness.ts"
import { directory, freePort, Process, ROOT, startBroker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

setDefaultTimeout(180_000)

/** A named pipe. This process holds its reading end and reads only on request. */
class UnreadPipe {
  text = ""
  readonly #fd: number

  constructor(readonly path: string) {
    Bun.spawnSync(["mkfifo", path])
    this.#fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  }

  /** Writes until the pipe is full. */
  fill(): void {
    for (const size of [4_096, 1])
      try {
        for (;;) writeSync(this.#fd, "#".repeat(size))
      } catch {}
  }

  /** Reads the available bytes and adds them to `text`. */
  read(): void {
    const buffer = Buffer.alloc(65_536)
    try {
      for (;;) this.text += buffer.toString("latin1", 0, readSync(this.#fd, buffer))
    } catch {}
  }

  async readUntil(text: string): Promise<void> {
    await until(`"${text}" is read`, () => {
      this.read()
      return this.text.includes(text)
    })
  }

  [Symbol.dispose]() {
    closeSync(this.#fd)
  }
}

const withOutput = (out: string, error: string, file: string) => [
  ...["sh", "-c", 'exec 1>"$0" 2>"$1"; shift; exec "$@"', out, error],
  ...[process.execPath, join(ROOT, file)],
]

test("a broker whose stderr is full and unread answers, works and stops", async () => {
  await using redis = await testRedis()
  await using dir = await directory()
  using stderr = new UnreadPipe(join(dir.path, "stderr"))
  stderr.fill()
  const port = `${freePort()}`
  const url = `http://127.0.0.1:${port}`
  await using broker = new Process({
    cmd: withOutput("/dev/null", stderr.path, "broker.ts"),
    env: { API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket, HOST: "127.0.0.1", PORT: port },
  })
  await until("it is alive", async () => (await fetch(`${url}/healthz`).catch(() => undefined))?.ok)
  const client = new Client({ url, token: TOKEN })
  for (let i = 0; i < 50; i++) await client.cancel((await client.submit({ type: "a" })).task_id)
  await stderr.readUntil("The broker is listening")
  await stderr.readUntil("The cancellation of a task was requested")
  stderr.fill()
  expect(await broker.stop()).toBe(0)
})

/** Runs a program on a terminal that is full and that nobody reads. The program itself holds the other end. */
const ON_UNREAD_TERMINAL = `
import os, pty, sys
reader, terminal = pty.openpty()
os.set_inheritable(reader, True)
os.set_blocking(terminal, False)
try:
    while True: os.write(terminal, b"#")
except BlockingIOError: os.set_blocking(terminal, True)
os.dup2(terminal, 1)
os.dup2(terminal, 2)
os.execvp(sys.argv[1], sys.argv[1:])`

test.skipIf(Bun.which("python3") === null)(
  "a broker on a terminal that is full and unread answers, works and stops",
  async () => {
    await using redis = await testRedis()
    const port = `${freePort()}`
    const url = `http://127.0.0.1:${port}`
    await using broker = new Process({
      cmd: ["python3", "-c", ON_UNREAD_TERMINAL, process.execPath, join(ROOT, "broker.ts")],
      env: { API_SECRET_TOKEN: TOKEN, REDIS_URL: redis.socket, HOST: "127.0.0.1", PORT: port },
    })
    await until("it is alive", async () => (await fetch(`${url}/healthz`).catch(() => undefined))?.ok)
    const client = new Client({ url, token: TOKEN })
    await client.cancel((await client.submit({ type: "a" })).task_id)
    expect(await broker.stop()).toBe(0)
  },
)

test("a worker whose output is not read continues, and later logs how many lines were dropped", async () => {
  await using redis = await testRedis()
  await using broker = await startBroker(redis.socket)
  await using dir = await directory()
  using stdout = new UnreadPipe(join(dir.path, "stdout"))
  using stderr = new UnreadPipe(join(dir.path, "stderr"))
  await using worker = new Process({
    cmd: withOutput(stdout.path, stderr.path, "worker.ts"),
    env: {
      BROKER_URL: broker.url,
      API_SECRET_TOKEN: TOKEN,
      HANDLERS: join(import.meta.dir, "../support/handlers.ts"),
    },
  })
  const done = async () => {
    const { task_id } = await broker.client.submit({ type: "shout", max_crashes: 0 })
    expect(await broker.client.status(task_id, { wait_ms: 20_000 })).toMatchObject({
      status: "done",
      attempt: 1,
    })
  }
  for (let i = 0; i < 3; i++) await done()
  await until("both are reported", () => {
    for (const pipe of [stdout, stderr]) pipe.read()
    return ["stdout", "stderr"].every(name => stderr.text.includes(`"output":"${name}"`))
  })
  const dropped = stderr.text
    .split("\n")
    .filter(line => line.includes("Output was dropped because nobody read it"))
    .map(line => JSON.parse(line))
  for (const name of ["stdout", "stderr"])
    expect(dropped.find(({ output }) => output === name).lines).toBeWithin(2_000, 9_001)
  expect(stdout.text).toContain("x".repeat(1_000))
  expect(await worker.stop()).toBe(0)
})
