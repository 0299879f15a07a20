/**
 * A run: a broker process with its own Redis, and requests in rounds on several connections. After each round, when no
 * request is in flight, the contents of Redis are compared with the answers. Then all tasks are ended through the API, so
 * that the next round starts with few tasks.
 */
import { Redis } from "ioredis"
import { Client } from "../../lib/client.ts"
import { QUEUES, SHARED_KEYS } from "../../lib/redis/keys.ts"
import { joinId } from "../../lib/task/id.ts"
import { Chance } from "../faults/seed.ts"
import { TOKEN } from "../support/harness.ts"
import { contradictionsOf, dump, sorted } from "../support/invariants.ts"
import { startBroker } from "../support/processes.ts"
import { testRedis } from "../support/redis.ts"
import { Connection } from "./connection.ts"
import { Document } from "./document.ts"
import { judge, printable } from "./judge.ts"
import { type Asked, Known, Requests, UNSURE } from "./requests.ts"

export interface Options {
  requests: number
  seed: number
  /** Requests per round. */
  round?: number
  report?: (line: string) => void
}

export interface Result {
  seed: number
  requests: number
  seconds: number
  /** The number of answers by kind of request and status; "none" if there was no answer. */
  answers: Record<string, Record<string, number>>
  codes: Record<string, number>
  memoryMb: { first: number; highest: number; last: number }
  rounds: number
  /** The number of tasks, leased, listed or in Redis, that were compared with the answers to submits. */
  compared: number
  failures: string[]
}

/** Whether the key is about no single queue. The name of a key with an end of its own, such as a time, ends in a colon. */
const isShared = (key: string) =>
  Object.keys(SHARED_KEYS).some(name => (name.endsWith(":") ? key.startsWith(name) : key === name))
/** What a dump reports for a key that was deleted before its type was read. */
const GONE = "something that this layout does not know"
const CONNECTIONS = 32
const MAX_FAILURES = 20
/** Allowed growth: covers uncollected garbage, but not a leak of a kilobyte per hundred requests. */
const MAX_GROWTH_MB = 300
/** The time limit of an answer to a valid request. A long poll takes 20 s at most. */
const WHOLE_MS = 25_000
/** The time limit of an answer to an invalid request, which may stay unanswered. */
const WILD_MS = 40
const ODD_MS = 300

export async function fuzz({ requests, seed, round = 10_000, report = () => {} }: Options): Promise<Result> {
  await using server = await testRedis()
  await using broker = await startBroker(server.socket, {
    DONE_RETENTION_MS: "500",
    DEAD_RETENTION_MS: "500",
    IDEMPOTENCY_TTL_MS: "1000",
    DONE_RETENTION_COUNT: "200",
    DEAD_RETENTION_COUNT: "200",
  })
  const redis = new Redis(server.socket)
  using _ = { [Symbol.dispose]: () => redis.disconnect() }
  const run = new Run(
    broker,
    redis,
    new Document((await (await fetch(`${broker.url}/swagger/json`)).json()) as never, seed),
    seed,
  )
  const began = performance.now()
  let first = 0
  let highest = 0
  let rounds = 0
  for (let from = 0; from < requests && run.failures.length < MAX_FAILURES; from += round) {
    const to = Math.min(requests, from + round)
    await run.ask(from, to)
    await run.compare()
    await run.drain()
    const memory = await memoryMb(broker.process.pid)
    // The first round fills caches and compiles code. Memory must be flat after it.
    if (rounds++ === 0) first = memory
    highest = Math.max(highest, memory)
    report(
      `${to} requests, ${Math.round(to / ((performance.now() - began) / 1_000))}/s, broker ${memory} MB, ${run.failures.length} failures`,
    )
  }
  const log = broker.process.log.filter(({ level }) => level === "error")
  for (const line of log.slice(0, 5)) run.failures.push(`The broker logged ${JSON.stringify(line)}`)
  if (!broker.process.running)
    run.failures.push(`The broker has exited:\n${broker.process.stderr.slice(-5_000)}`)
  if (highest - first > MAX_GROWTH_MB)
    run.failures.push(`The broker has grown from ${first} to ${highest} MB`)
  return {
    seed,
    requests,
    seconds: (performance.now() - began) / 1_000,
    answers: run.answers,
    codes: run.codes,
    memoryMb: { first, highest, last: await memoryMb(broker.process.pid) },
    rounds,
    compared: run.compared,
    failures: run.failures,
  }
}

/** Members of an answer that name tasks. */
interface Told {
  status?: string
  task_id?: string
  id?: string
  lease?: string
  again_of?: string
  code?: string
  tasks?: unknown[]
  schedule?: string
  next?: string
}

/** The schedule that created a task with this id, if one did. */
const scheduleOf = (id: string) => id.replace(/-\d{13}$/, "")

class Run {
  readonly failures: string[] = []
  compared = 0
  readonly answers: Record<string, Record<string, number>> = {}
  readonly codes: Record<string, number> = {}
  readonly #known = new Known()
  readonly #requests: Requests
  readonly #connections: Connection[]
  readonly #client: Client
  /** The ids of all tasks that answers to submits have named. */
  readonly #named = new Set<string>()
  /** The ids of all schedules that answers have named. */
  readonly #schedules = new Set<string>()
  /** The ids of all tasks seen since the last check: leased, listed, or in Redis. */
  readonly #seen = new Set<string>()

  constructor(
    broker: { url: string; port: string },
    private readonly redis: Redis,
    private readonly document: Document,
    private readonly seed: number,
  ) {
    this.#requests = new Requests(document, this.#known)
    this.#connections = Array.from({ length: CONNECTIONS }, () => new Connection(Number(broker.port)))
    this.#client = new Client({ url: broker.url, token: TOKEN })
  }

  /** Sends the requests with these numbers. */
  async ask(from: number, to: number): Promise<void> {
    let next = from
    await Promise.all(
      this.#connections.map(async connection => {
        while (next < to && this.failures.length < MAX_FAILURES) {
          const number = next++
          const asked = this.#requests.next(Chance.of(this.seed, `request ${number}`))
          await this.#one(connection, asked, number)
        }
      }),
    )
  }

  async #one(connection: Connection, asked: Asked, number: number) {
    const fail = (what: string, answer = "") =>
      this.failures.push(
        `${what}\n  seed ${this.seed}, request ${number} (${asked.kind}): ${printable(asked.bytes)}\n  ${answer}`,
      )
    const answers = await connection
      .ask(asked.bytes, asked.methods, asked.whole ? WHOLE_MS : asked.kind === "wild" ? WILD_MS : ODD_MS)
      .catch((error: Error) => void fail(`The answer cannot be parsed: ${error.message}`))
    if (!asked.whole || answers === undefined || answers.some(({ status }) => status === 431))
      connection.close()
    if (answers === undefined) return
    this.answers[asked.kind] ??= {}
    const statuses = this.answers[asked.kind]!
    if (answers.length === 0) statuses.none = (statuses.none ?? 0) + 1
    if (asked.whole && answers.length !== asked.methods.length)
      fail(`${answers.length} answers to ${asked.methods.length} requests`)
    // A body that is parsed as another request allows request smuggling. A final answer by Bun itself does not count.
    else if (answers.filter(({ body }) => body.length > 0).length > asked.methods.length)
      fail(`${answers.length} answers`)
    for (const answer of answers) {
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
      const { wrong, body } = judge(this.document, asked, answer)
      if (wrong !== undefined) fail(wrong, `${answer.status} ${printable(answer.body)}`)
      this.#hear(body)
    }
  }

  /** Remembers the ids, leases and cursors in an answer. */
  #hear(body: unknown): void {
    if (typeof body !== "object" || body === null) return
    for (const item of Array.isArray(body) ? body : [body]) {
      const { status, task_id, id, lease, again_of, code, tasks, schedule, next } = item as Told
      if (code !== undefined) this.codes[code] = (this.codes[code] ?? 0) + 1
      else if (task_id !== undefined && /^(queued|scheduled)$/.test(`${status}`)) {
        this.#named.add(task_id)
        this.#known.heard({ id: task_id })
      } else if (id !== undefined) this.#seen.add(id)
      if (id !== undefined && lease !== undefined) this.#known.heard({ id, lease })
      // Copies that a bulk operation makes are named only here.
      if (id !== undefined && again_of !== undefined) this.#named.add(id)
      if (Array.isArray(tasks)) this.#hear(tasks)
      if (typeof schedule === "string") this.#schedules.add(schedule)
      if (typeof next === "string") this.#known.page(next)
    }
  }

  /** Looks for foreign keys, tasks that no answer named, and contradictions between keys. */
  async compare(): Promise<void> {
    const queues = new Set<string>()
    let cursor = "0"
    do {
      const [next, keys] = await this.redis.scan(cursor, "MATCH", "*", "COUNT", 1_000)
      cursor = next
      for (const key of keys) {
        const queue = /^tq:\{([A-Za-z0-9._-]{1,64})\}:/.exec(key)?.[1]
        if (queue !== undefined) queues.add(queue)
        else if (!isShared(key)) this.failures.push(`Redis has the foreign key ${JSON.stringify(key)}`)
      }
    } while (cursor !== "0")
    const named = new Set(await this.redis.smembers(QUEUES))
    for (const queue of queues) {
      // The broker's upkeep runs meanwhile, so only contradictions that persist are failures.
      let content = await this.#dump(queue)
      let wrong = contradictionsOf(content)
      for (let i = 0; wrong.length > 0 && i < 5; i++) {
        await Bun.sleep(50)
        content = await this.#dump(queue)
        wrong = contradictionsOf(content)
      }
      if (wrong.length > 0) this.failures.push(`Queue ${queue}: ${wrong.slice(0, 5).join("; ")}`)
      const { tasks } = sorted(content)
      const ids = [...tasks.keys()].map(local => joinId(queue, local))
      // A task may have been submitted again by a request whose answer was not read.
      for (const [local, { extra }] of tasks)
        if (extra?.includes('"again_of":')) this.#named.add(joinId(queue, local))
      if (ids.length > 0 && !named.has(queue))
        this.failures.push(`Queue ${queue} has tasks and is not among ${QUEUES}`)
      for (const id of ids) this.#seen.add(id)
      // A schedule may have been set by a request whose answer was not read.
      for (const name of Object.keys(content.schedules ?? {})) this.#schedules.add(joinId(queue, name))
    }
    const unnamed = [...this.#seen].filter(
      id => !this.#named.has(id) && !this.#schedules.has(scheduleOf(id)) && !id.startsWith(`${UNSURE}:`),
    )
    if (unnamed.length > 0)
      this.failures.push(`There are tasks that no answer has named: ${unnamed.slice(0, 5).join(", ")}`)
    this.compared += this.#seen.size
    this.#seen.clear()
  }
  /** Skips keys that were deleted after they were listed. */
  async #dump(queue: string) {
    const content = await dump(this.redis, queue)
    return Object.fromEntries(Object.entries(content).filter(([, value]) => value !== null && value !== GONE))
  }

  /** Ends all tasks through the API. */
  async drain(): Promise<void> {
    for (const queue of await this.redis.smembers(QUEUES)) {
      const { tasks } = sorted(await this.#dump(queue))
      const open = [...tasks].filter(([, { state }]) => !/done|dead|cancelled/.test(state!))
      const inState = (match: RegExp) =>
        open.filter(([, { state }]) => match.test(state!)).map(([id]) => joinId(queue, id))
      const running = inState(/processing/)
      const waiting = inState(/scheduled|retrying/)
      for (let left = inState(/queued/).length; left > 0; ) {
        const { tasks: leased } = await this.#client.lease({ queues: [queue], max: 200 })
        if (leased.length === 0) break
        left -= leased.length
        running.push(...leased.map(({ id }) => id))
      }
      for (let from = 0; from < running.length; from += 1_000)
        await this.#client.ackMany(running.slice(from, from + 1_000).map(task_id => ({ task_id })))
      for (let from = 0; from < waiting.length; from += 50)
        await Promise.allSettled(waiting.slice(from, from + 50).map(id => this.#client.cancel(id)))
    }
  }
}

/** The resident memory of a process; 0 if it has ended. */
export async function memoryMb(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`)
    .text()
    .catch(() => "")
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1_024)
}
