/** Overload and slow clients: the memory of a real broker process, and how long other clients wait. */
import { expect, test } from "bun:test"
import { createBroker } from "../../broker.ts"
import { bodyReader } from "../../lib/http/body.ts"
import { createLog } from "../../lib/log.ts"
import type { TaskQueue } from "../../lib/queue/task-queue.ts"
import { type Answer, Connection } from "../fuzz/connection.ts"
import { memoryMb } from "../fuzz/run.ts"
import { TOKEN, testConfig } from "../support/harness.ts"
import { type RunningBroker, startBroker, until } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"

const HEAD = `Host: a\r\nX-API-Token: ${TOKEN}\r\nContent-Type: application/json\r\n`
const post = (path: string, body: string) =>
  Buffer.from(`POST ${path} HTTP/1.1\r\n${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`)
const bodyOf = ({ body }: Answer) => JSON.parse(body.toString()) as Record<string, unknown>
const codeOf = (answer: Answer | undefined) =>
  answer === undefined ? "none" : answer.status === 200 ? "200" : `${bodyOf(answer).code}`

/** To print the measured figures: TELL=1 bun test tests/http/overload.test.ts */
const tell = (line: string) => process.env.TELL && console.log(line)

/** How many sockets a process may have on this machine. Bun raises its soft limit to the hard limit. */
const SOCKETS =
  Number(Bun.spawnSync(["sh", "-c", "ulimit -Hn"]).stdout.toString()) || Number.POSITIVE_INFINITY

/** Opens this many connections and sends these bytes on each. If `deaf`, nothing is read from them. */
async function crowd(broker: { port: string }, count: number, bytes: string | Buffer = "", deaf = false) {
  const open = new Set<Bun.Socket>()
  const texts: string[] = []
  const add = async () => {
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(broker.port),
      socket: {
        data: (_, data) => void texts.push(data.toString("latin1")),
        close: socket => void open.delete(socket),
      },
    })
    if (deaf) socket.pause()
    socket.write(bytes)
    open.add(socket)
  }
  // As many at a time as fit the backlog of the listening socket.
  for (let left = count; left > 0; left -= 200)
    await Promise.all(Array.from({ length: Math.min(left, 200) }, add))
  return {
    /** The chunks that arrived on all connections. */
    texts,
    /** The connections that the broker has not closed. */
    open,
    [Symbol.dispose]() {
      for (const socket of open) socket.terminate()
    },
  }
}

/** Sends `count` requests on each connection and counts the answers by status. */
async function flood(broker: { port: string }, connections: number, count: number, bytes: Buffer) {
  const counts: Record<string, number> = {}
  const refused: Answer[] = []
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const connection = new Connection(Number(broker.port))
      for (let i = 0; i < count; i++) {
        const [answer] = await connection.ask(bytes, ["POST"], 40_000)
        const code = codeOf(answer)
        counts[code] = (counts[code] ?? 0) + 1
        if (answer !== undefined && answer.status !== 200) refused.push(answer)
      }
      connection.close()
    }),
  )
  return { counts, refused }
}

/** A submit that waited for a slow client would wait until the idle timeout of 40 s. */
const HELD_UP_MS = 20_000

/** The 99th percentile of the duration of these submits, in ms. */
async function submitP99({ port }: RunningBroker, count: number): Promise<number> {
  const connection = new Connection(Number(port))
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const began = performance.now()
    const [answer] = await connection.ask(post("/submit", '{"type":"normal"}'), ["POST"], 40_000)
    expect(codeOf(answer)).toBe("200")
    times.push(performance.now() - began)
  }
  connection.close()
  return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!
}

test("while Redis is frozen, excess requests are refused with Retry-After and memory stays flat; afterwards the broker recovers", async () => {
  await using server = await testRedis()
  await using broker = await startBroker(server.socket, { REDIS_TIMEOUT_MS: "10000" })
  await flood(broker, 50, 20, post("/submit", '{"type":"before"}'))
  const before = await memoryMb(broker.process.pid)
  process.kill(server.pid, "SIGSTOP")
  try {
    // 400 MB in total, of which 64 MB are held. The other bodies are refused before they are read.
    const large = await flood(
      broker,
      800,
      1,
      post("/submit", `{"type":"a","payload":"${"x".repeat(500_000)}"}`),
    )
    const held = await memoryMb(broker.process.pid)
    expect(large.counts.overloaded).toBeGreaterThan(300)
    expect(large.counts["200"]).toBeUndefined()
    const refused = large.refused.map(bodyOf).find(({ code }) => code === "overloaded")
    expect(refused?.detail).toContain("again later, in smaller parts, or to another broker")
    const small = await flood(
      broker,
      1_000,
      20,
      post("/submit", '{"type":"small","payload":"of a usual size"}'),
    )
    expect(Object.values(small.counts).reduce((sum, count) => sum + count, 0)).toBe(20_000)
    expect(Object.keys(small.counts).sort()).toEqual(["redis_unavailable"])
    for (const { status, headers } of [...large.refused, ...small.refused])
      expect([status, headers.get("retry-after")]).toEqual([503, "1"])
    const after = await memoryMb(broker.process.pid)
    tell(`frozen Redis: ${before} MB before, ${held} with large bodies, ${after} after 20,000 small ones`)
    expect(Math.max(held, after) - before).toBeLessThan(700)
  } finally {
    process.kill(server.pid, "SIGCONT")
  }
  await until("it takes submits again", async () => (await fetch(`${broker.url}/readyz`)).ok)
  expect(await submitP99(broker, 100)).toBeLessThan(HELD_UP_MS)
})

test("clients that are slow, silent or never read do not delay others", async () => {
  await using server = await testRedis()
  await using broker = await startBroker(server.socket)
  const before = await memoryMb(broker.process.pid)
  const idle = Math.min(10_000, SOCKETS - 4_000)
  const large = `{"type":"large","queue":"large","payload":"${"x".repeat(100_000)}"}`
  await flood(broker, 10, 5, post("/submit", large))
  {
    using _idle = await crowd(broker, idle)
    using _dribbling = await crowd(broker, 500, "POST /submit HTTP/1.1\r\nHost: a\r\nX-A: ")
    using _half = await crowd(
      broker,
      500,
      `POST /submit HTTP/1.1\r\n${HEAD}Content-Length: 1000000\r\n\r\n{"type":"${"x".repeat(10_000)}`,
    )
    using _small = await crowd(
      broker,
      500,
      `POST /submit HTTP/1.1\r\n${HEAD}Content-Length: 100\r\n\r\n{"type":`,
    )
    using _deaf = await crowd(broker, 20, `GET /tasks?state=queued&queue=large HTTP/1.1\r\n${HEAD}\r\n`, true)
    const p99 = await submitP99(broker, 500)
    const during = await memoryMb(broker.process.pid)
    tell(
      `slow clients: submits take ${p99.toFixed(1)} ms at p99; ${before} MB before, ${during} with ${idle} idle ones`,
    )
    expect(p99).toBeLessThan(HELD_UP_MS)
    expect(during - before).toBeLessThan(600)
  }
  expect(await submitP99(broker, 100)).toBeLessThan(HELD_UP_MS)
  // A client that disconnects in the middle of a body is not a fault of the broker.
  expect(broker.process.log.filter(({ level }) => level === "error")).toEqual([])
})

test.skipIf(SOCKETS < 15_000)(
  "10,000 requests may wait, further ones are refused, and requests that do not wait are answered",
  async () => {
    await using server = await testRedis()
    await using broker = await startBroker(server.socket)
    const wait = '{"wait_ms":20000,"queues":["wait"]}'
    const before = await memoryMb(broker.process.pid)
    {
      using waiting = await crowd(broker, 10_000, post("/lease", wait))
      const ask = async (bytes: Buffer | string, limitMs = 40_000) => {
        const connection = new Connection(Number(broker.port))
        const [answer] = await connection.ask(Buffer.from(bytes), ["POST"], limitMs)
        connection.close()
        return answer
      }
      // The last of the 10,000 may still be on their way, and then one more is accepted and gets no answer.
      await until(
        "one more is refused",
        async () => codeOf(await ask(post("/lease", wait), 1_000)) === "overloaded",
      )
      const during = await memoryMb(broker.process.pid)
      tell(`10,000 long polls: ${before} MB before, ${during} with them`)
      expect(during - before).toBeLessThan(400)
      expect(waiting.texts).toEqual([])
      for (const path of ["/get?wait_ms=1000", "/status/a?wait_ms=1000"]) {
        const answer = (await ask(`GET ${path} HTTP/1.1\r\n${HEAD}\r\n`))!
        expect(answer.headers.get("retry-after")).toBe("1")
        expect(bodyOf(answer)).toMatchObject({
          code: "overloaded",
          detail: expect.stringContaining("wait_ms of 0"),
        })
      }
      expect(codeOf(await ask(post("/work", '{"max":1,"wait_ms":1000}')))).toBe("overloaded")
      // Requests that do not wait are answered, and the waiting ones are served.
      expect((await ask(`GET /get HTTP/1.1\r\n${HEAD}\r\n`))!.status).toBe(204)
      expect(await submitP99(broker, 200)).toBeLessThan(HELD_UP_MS)
      expect(codeOf(await ask(post("/submit", '{"type":"a","queue":"wait"}')))).toBe("200")
      await until("one of them has it", () => waiting.texts.some(text => text.includes('"type":"a"')))
    }
    // Once they disconnect, there is room again.
    await until("others may wait", async () => {
      const connection = new Connection(Number(broker.port))
      const [answer] = await connection.ask(post("/lease", '{"wait_ms":1}'), ["POST"], 40_000)
      connection.close()
      return answer?.status === 200
    })
  },
)

test("an incomplete body and an unread answer end with the idle timeout", async () => {
  const page = async () => ({ tasks: [], next: "x".repeat(30_000_000) })
  const huge = { parts: { tasksSearch: { page } } } as unknown as TaskQueue
  const app = createBroker(huge, testConfig(), TOKEN, createLog("silent"))
  // The idle timeout of the broker is 40 s. All must have asked before the first is cut.
  app.listen({ hostname: "127.0.0.1", port: 0, reusePort: false, idleTimeout: 5 })
  const { server } = app
  try {
    const broker = { port: String(server!.port) }
    const half = `POST /submit HTTP/1.1\r\n${HEAD}Content-Length: 1000000\r\n\r\n{`
    using silent = await crowd(broker, 3, half)
    using dribbling = await crowd(broker, 3, half)
    using _deaf = await crowd(broker, 3, `GET /tasks?state=queued HTTP/1.1\r\n${HEAD}\r\n`, true)
    await until("all have asked", () => server!.pendingRequests === 9)
    // An occasional byte does not keep the connection open.
    const dribble = setInterval(() => {
      for (const socket of dribbling.open) socket.write("x")
    }, 200)
    try {
      await until("all are cut", () => server!.pendingRequests + silent.open.size + dribbling.open.size === 0)
    } finally {
      clearInterval(dribble)
    }
  } finally {
    await server!.stop(true)
  }
})

test("a repeated Content-Length does not disable the limit on held bodies", async () => {
  const read = bodyReader(1_048_576)
  const request = (size: number, length: string) =>
    ({
      headers: new Headers({ "content-type": "application/json", "content-length": length }),
      arrayBuffer: async () => Buffer.from(`"${"a".repeat(size)}"`),
      get body() {
        return new Response(`"${"a".repeat(size)}"`).body
      },
    }) as unknown as Request
  ;(await read(request(0, "2, 2")))[Symbol.dispose]()
  const held = []
  const fill = async () => {
    for (let i = 0; i < 80; i++) held.push(await read(request(1_000_000, "1000002")))
  }
  await expect(fill()).rejects.toMatchObject({ reason: "overloaded" })
})
