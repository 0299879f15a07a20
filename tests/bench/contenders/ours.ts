/**
 * This queue over HTTP: its Redis and one broker process, unless a row uses more. The load comes from raw connections
 * with prepared requests, and ids and leases are cut out of the answers as text. With one task per request, `fetch` and
 * JSON cost this process 36 µs of CPU per submit, and this client 18 µs. Otherwise the bench would measure its client.
 */
import { TOKEN } from "../../support/harness.ts"
import { freePort, startBroker } from "../../support/processes.ts"
import { testRedis } from "../../support/redis.ts"
import { type Contender, inLanes, type Load, PAYLOAD } from "../contender.ts"
import { Connection, post } from "../http.ts"
import type { RedisSettings } from "../settings.ts"

interface OursOptions {
  redis: RedisSettings
  name?: string
  /** Requests go to these queues in turn. */
  queues?: readonly string[]
  /** How many groups the tasks of the requests belong to, in turn; 0: none. */
  groups?: number
  /** Uses /work, which settles and leases in one request, instead of /lease and /ack. */
  byWork?: boolean
  /** The number of broker processes on the port. */
  brokers?: number
  /** Further variables of the broker. */
  env?: Readonly<Record<string, string>>
}

export class Ours implements Contender {
  readonly name: string
  readonly #options: OursOptions
  readonly #queues: readonly string[]
  readonly #requests = new Map<string, Uint8Array>()
  #connections: Connection[] = []

  static async start(options: OursOptions) {
    await using opened = new AsyncDisposableStack()
    const redis = opened.use(await testRedis(options.redis))
    const { brokers = 1, env = {} } = options
    const several = brokers > 1 && { PORT: `${freePort()}`, BROKERS: `${brokers}` }
    const broker = opened.use(await startBroker(redis.socket, { ...several, ...env }))
    return new Ours(options, redis, broker, opened.move())
  }

  private constructor(
    options: OursOptions,
    readonly redis: Awaited<ReturnType<typeof testRedis>>,
    readonly broker: Awaited<ReturnType<typeof startBroker>>,
    private readonly opened: AsyncDisposableStack,
  ) {
    this.#options = options
    this.#queues = options.queues ?? ["default"]
    this.name = options.name ?? (options.byWork ? "ours, by /work" : "ours")
  }

  /** Another client that works in another way on the same broker and tasks. */
  byWork(): Contender {
    return new Ours({ ...this.#options, byWork: true }, this.redis, this.broker, new AsyncDisposableStack())
  }

  /** With several brokers, the process that started them is left out, as it is idle. */
  get servers(): { broker: number; redis: number } & Record<string, number> {
    const { process } = this.broker
    const listening = process.log.find(({ message }) => message === "The broker is listening")
    const [broker = process.pid, ...others] = (listening?.brokers ?? []) as number[]
    const numbered = others.map((pid, i) => [`broker ${i + 2}`, pid] as const)
    return { broker, ...Object.fromEntries(numbered), redis: this.redis.pid }
  }

  async submit(load: Load): Promise<void> {
    const connections = await this.#connect(load.lanes)
    await inLanes(load, async (count, lane, number) => {
      const queue = this.#queueOf(number)
      const { groups = 0 } = this.#options
      const request =
        groups === 0 ? this.#submission(queue, count) : this.#groupedSubmission(queue, count, number, groups)
      refuseProblems(await connections[lane]!.send(request))
    })
  }

  async beginWork({ lanes, perRequest }: Load): Promise<void> {
    await this.#connect(lanes)
    for (const queue of this.#queues) this.#submission(queue, perRequest)
  }

  async work(load: Load): Promise<void> {
    const connections = await this.#connect(load.lanes)
    if (this.#options.byWork) return this.#workByWork(load, connections)
    await inLanes(load, async (count, lane, number) => {
      const connection = connections[lane]!
      for (let left = count; left > 0; ) {
        const tasks = await connection.send(this.#lease(this.#queueOf(number), left))
        const [acks, taken] = acksOf(tasks)
        if (taken === 0) throw new Error(`no task was leased, and ${left} are left`)
        left -= taken
        const body = load.perRequest === 1 ? acks : `[${acks}]`
        refuseProblems(await connection.send(post("/ack", TOKEN, body)))
      }
    })
  }

  /** The last request of each lane only settles. */
  async #workByWork(load: Load, connections: readonly Connection[]): Promise<void> {
    const held = connections.map(() => "")
    const exchange = async (lane: number, max: number, queue: string) => {
      const more = max > 0 ? `,"max":${max},"queues":["${queue}"]` : ""
      const answer = await connections[lane]!.send(post("/work", TOKEN, `{"settle":[${held[lane]}]${more}}`))
      refuseProblems(answer)
      const [acks, taken] = acksOf(answer)
      held[lane] = acks
      return taken
    }
    await inLanes(load, async (count, lane, number) => {
      for (let left = count; left > 0; ) {
        const taken = await exchange(lane, left, this.#queueOf(number))
        if (taken === 0) throw new Error(`no task was leased, and ${left} are left`)
        left -= taken
      }
    })
    await Promise.all(held.map((acks, lane) => (acks === "" ? 0 : exchange(lane, 0, ""))))
  }

  async [Symbol.asyncDispose]() {
    for (const connection of this.#connections) connection.close()
    await this.opened.disposeAsync()
  }

  #queueOf(number: number): string {
    return this.#queues[number % this.#queues.length]!
  }

  async #connect(lanes: number): Promise<Connection[]> {
    this.#connections = this.#connections.filter(({ isOpen }) => isOpen) // the turns of others may take long
    while (this.#connections.length < lanes) this.#connections.push(await Connection.open(this.broker.url))
    return this.#connections.slice(0, lanes)
  }

  #submission(queue: string, count: number): Uint8Array {
    return this.#request(`submit ${queue} ${count}`, () => submission(queue, count))
  }

  /** Each request names the next groups, so there are as many prepared requests as it takes to name all. */
  #groupedSubmission(queue: string, count: number, number: number, groups: number): Uint8Array {
    const first = (number * count) % groups
    return this.#request(`submit ${queue} ${count} from ${first}`, () => {
      const tasks = Array.from({ length: count }, (_, i) =>
        JSON.stringify({ type: "mail", queue, group: `tenant-${(first + i) % groups}`, payload: PAYLOAD }),
      )
      return post("/submit", TOKEN, count === 1 ? tasks[0]! : `[${tasks}]`)
    })
  }

  #lease(queue: string, max: number): Uint8Array {
    return this.#request(`lease ${queue} ${max}`, () =>
      post("/lease", TOKEN, JSON.stringify({ queues: [queue], max, wait_ms: 5_000 })),
    )
  }

  #request(name: string, make: () => Uint8Array): Uint8Array {
    let request = this.#requests.get(name)
    if (request === undefined) {
      request = make()
      this.#requests.set(name, request)
    }
    return request
  }
}

/** A request that submits `count` tasks. */
export function submission(queue: string, count: number, payload: unknown = PAYLOAD): Uint8Array {
  const task = JSON.stringify({ type: "mail", ...(queue !== "default" && { queue }), payload })
  return post("/submit", TOKEN, count === 1 ? task : `[${Array(count).fill(task)}]`)
}

/** The acks for the tasks in an answer, as JSON without brackets, and their number. */
export function acksOf(answer: string): [acks: string, count: number] {
  let acks = ""
  let count = 0
  for (let at = answer.indexOf('"id":"'); at >= 0; at = answer.indexOf('"id":"', at)) {
    const idEnd = answer.indexOf('"', at + 6)
    const leaseAt = answer.indexOf('"lease":"', idEnd) + 9
    const leaseEnd = answer.indexOf('"', leaseAt)
    acks += `${count === 0 ? "" : ","}{"task_id":"${answer.slice(at + 6, idEnd)}","lease":"${answer.slice(leaseAt, leaseEnd)}"}`
    at = leaseEnd
    count++
  }
  return [acks, count]
}

/** Only refused items have the member `error` in these answers. */
function refuseProblems(answer: string): void {
  if (answer.includes('"error"')) throw new Error(`refused: ${answer.slice(0, 500)}`)
}
