/** The faults: their kinds, how they are drawn from the seed, how each is injected, and how long the recovery took. */
import { Client } from "../../lib/client.ts"
import type { BrokerSeat, ClientSeat, WorkerSeat } from "./participants.ts"
import { TOKEN } from "./parts.ts"
import { LINK_FAULTS, type LinkFault } from "./proxy.ts"
import { Chance } from "./seed.ts"
import type { Over, Target } from "./target.ts"
import { PROBE_QUEUES } from "./workload.ts"

export interface Scene {
  target: Target
  brokers: BrokerSeat[]
  workers: WorkerSeat[]
  clients: ClientSeat[]
}

/** A fault as drawn. It does not depend on the course of the run. */
interface Drawn {
  kind: string
  /** From 0 to below 1 each: select the victim and the variant. */
  victim: number
  which: number
  lastsMs: number
  /** The pause before it. */
  gapMs: number
}

/** A fault as it happened. Times are by the clock of the machine. */
export interface Done extends Drawn {
  on: string
  beganAt: number
  /** Whether another Redis server took over. */
  failover: boolean
  /** When the cause was gone: the killed process could be started, the frozen one continued, another server was promoted. */
  healedAt: number
  /** When Redis, which was down, answered again. */
  backAt?: number
  /** When the first call succeeded after that; undefined if it must be read from the worker's history. */
  recoveredAt?: number
  /** The brokers that it affects. Other faults of the same brokers distort its recovery time. */
  touches: number[]
  /** The worker that it affects. */
  worker?: number
}

interface Act {
  on: string
  touches: number[]
  worker?: number
  /** The calls that show recovery. */
  probes: string[]
  /** Injects the fault, waits, and undoes it. Returns when it was undone. */
  run(): Promise<number | Over>
}

interface Kind {
  weight: number
  failover?: boolean | undefined
  lasts: [min: number, max: number]
  act(scene: Scene, drawn: Drawn): Act
}

const LINKS = ["clients", "workers", "redis"] as const
const LINK_WORDS = { clients: "client-broker", workers: "worker-broker", redis: "broker-redis" } as const
const WEIGHT_OF_LINK_FAULT: Record<LinkFault, number> = {
  dropReply: 4,
  cutRequest: 2,
  cutReply: 2,
  blackHole: 2,
  late: 3,
  slow: 1.5,
  deafServer: 1.5,
  deafClient: 1.5,
}
/** How long each fault lasts. Some wait for a request during this time. */
const LASTS: Record<LinkFault, [number, number]> = {
  dropReply: [50, 400],
  cutRequest: [50, 300],
  cutReply: [50, 300],
  blackHole: [300, 2_500],
  late: [300, 2_500],
  slow: [300, 1_500],
  deafServer: [200, 1_500],
  deafClient: [200, 1_500],
}

const pick = <T>(all: readonly T[], at: number): T => all[Math.floor(at * all.length)]!

/** Makes kinds of faults that hit one of several seats. */
const kindOf =
  <Seat>(seatsOf: (scene: Scene) => readonly Seat[], about: (seat: Seat) => Omit<Act, "run">) =>
  (weight: number, lasts: [number, number], hit: (seat: Seat, ms: number) => Promise<number>): Kind => ({
    weight,
    lasts,
    act(scene, { victim, lastsMs }) {
      const seat = pick(seatsOf(scene), victim)
      return { ...about(seat), run: () => hit(seat, lastsMs) }
    },
  })

const brokerKind = kindOf(
  ({ brokers }) => brokers,
  ({ index, clients }) => ({ on: `broker ${index}`, touches: [index], probes: [clients.url] }),
)

const workerKind = kindOf(
  ({ workers }) => workers,
  ({ index }) => ({ on: `worker ${index}`, touches: [], worker: index, probes: [] }),
)

const clientKind = kindOf(
  ({ clients }) => clients,
  ({ part }) => ({ on: `client ${part.index}`, touches: [], probes: [] }),
)

async function frozen(seat: { signal(signal: NodeJS.Signals): void }, ms: number): Promise<number> {
  seat.signal("SIGSTOP")
  await Bun.sleep(ms)
  seat.signal("SIGCONT")
  return Date.now()
}

export function kindsOf(target: Target): Record<string, Kind> {
  const kinds: Record<string, Kind> = {
    "worker killed": workerKind(10, [0, 0], async seat => {
      await seat.kill9()
      const at = Date.now()
      await seat.start()
      return at
    }),
    "worker frozen": workerKind(6, [500, 4_000], frozen),
    "broker killed": brokerKind(7, [0, 200], async (seat, ms) => {
      await seat.kill9()
      await Bun.sleep(ms)
      const at = Date.now()
      await seat.start()
      return at
    }),
    "broker frozen": brokerKind(5, [300, 4_000], frozen),
    "client frozen": clientKind(2, [500, 2_000], frozen),
    "client killed": clientKind(3, [0, 0], async seat => {
      await seat.kill9()
      return Date.now()
    }),
  }
  for (const [kind, fault] of Object.entries(target.faults))
    kinds[kind] = {
      weight: fault.weight,
      lasts: fault.lasts,
      failover: fault.failover,
      act: ({ brokers }, { lastsMs, which }) => ({
        on: "redis",
        touches: brokers.map(({ index }) => index),
        probes: brokers.map(({ clients }) => clients.url),
        run: () => fault.run({ lastsMs, which, brokers: brokers.map(({ clients }) => clients.url) }),
      }),
    }
  for (const end of target.linked ? LINKS : LINKS.filter(end => end !== "redis"))
    for (const fault of LINK_FAULTS)
      kinds[`${LINK_WORDS[end]} ${fault}`] = {
        weight: WEIGHT_OF_LINK_FAULT[fault],
        lasts: LASTS[fault],
        act({ brokers }, { victim, lastsMs, which }) {
          const seat = pick(brokers, victim)
          const link = seat[end]!
          return {
            on: link.name,
            touches: [seat.index],
            probes: [(end === "redis" ? seat.clients : link).url],
            async run() {
              link.break(fault, 20 + which * 200)
              await Bun.sleep(lastsMs)
              link.heal()
              return Date.now()
            },
          }
        },
      }
  return kinds
}

/**
 * The durations of the kinds are for leases of at least a second and scale with `leaseMs`. `gapMs` is the mean pause. With
 * `failovers`, faults are drawn until that many of them are failovers.
 */
export function drawFaults(
  seed: number,
  count: number,
  kinds: Record<string, Kind>,
  { gapMs, leaseMs, failovers }: { gapMs: number; leaseMs: number; failovers?: number | undefined },
): Drawn[] {
  const chance = Chance.of(seed, "faults")
  const weights = Object.fromEntries(Object.entries(kinds).map(([name, { weight }]) => [name, weight]))
  if (failovers !== undefined && !Object.values(kinds).some(({ failover }) => failover))
    throw new Error("This Redis has no replica to fail over to")
  const drawn: Drawn[] = []
  for (let left = failovers; left === undefined ? drawn.length < count : left > 0; ) {
    const kind = chance.weighted(weights)
    drawn.push({
      kind,
      victim: chance.next(),
      which: chance.next(),
      lastsMs: (chance.between(...kinds[kind]!.lasts) * leaseMs) / 1_000,
      gapMs: gapMs * (0.5 + chance.next()),
    })
    if (left !== undefined && kinds[kind]!.failover) left--
  }
  return drawn
}

/** Injects faults, several at a time but never two into the same victim, and measures when calls succeed again. */
export class FaultInjector {
  readonly done: Done[] = []
  /** What was not served during a fault although it should have been. */
  readonly unserved: string[] = []
  readonly #active = new Map<string, Promise<void>>()
  #failure: unknown

  constructor(
    readonly scene: Scene,
    readonly kinds: Record<string, Kind>,
    readonly atOnce: number,
  ) {}

  /** Resolves when the fault has begun. */
  async begin(drawn: Drawn): Promise<void> {
    const act = this.kinds[drawn.kind]!.act(this.scene, drawn)
    while (this.#active.size >= this.atOnce) await Promise.race(this.#active.values())
    while (this.#active.has(act.on)) await this.#active.get(act.on)
    if (this.#failure !== undefined) throw this.#failure
    const running = this.#do(drawn, act)
      .catch(error => {
        this.#failure = new Error(
          `${drawn.kind} on ${act.on}: ${error instanceof Error ? error.message : error}`,
        )
      })
      .finally(() => this.#active.delete(act.on))
    this.#active.set(act.on, running)
  }

  async settled(): Promise<void> {
    await Promise.all(this.#active.values())
    if (this.#failure !== undefined) throw this.#failure
  }

  async #do(drawn: Drawn, { on, touches, worker, probes, run }: Act): Promise<void> {
    const beganAt = Date.now()
    const over = await run()
    const {
      at: healedAt,
      backAt,
      unserved = [],
      restore,
    }: Over = typeof over === "number" ? { at: over } : over
    const done: Done = {
      ...drawn,
      on,
      failover: this.kinds[drawn.kind]!.failover ?? false,
      beganAt,
      healedAt,
      ...(backAt === undefined ? {} : { backAt }),
      touches,
      ...(worker === undefined ? {} : { worker }),
    }
    this.done.push(done)
    this.unserved.push(...unserved)
    if (probes.length === 0) return
    await Promise.all(probes.flatMap(url => PROBE_QUEUES.map(queue => comesThrough(url, queue))))
    done.recoveredAt = Date.now()
    await restore?.()
  }
}

/** The probe: always the same submit, which Redis must store, in a queue without workers. */
export const PROBE = { type: "probe", task_id: "probe", delay_ms: 366 * 86_400_000 }
const PROBE_EVERY_MS = 20
const PROBE_TIMEOUT_MS = 2_000
/** If no call succeeds for this long, the run fails. */
const PROBE_LIMIT_MS = 30_000

async function comesThrough(url: string, queue: string): Promise<void> {
  const client = new Client({ url, token: TOKEN, timeoutMs: PROBE_TIMEOUT_MS })
  const answered = Promise.withResolvers<void>()
  let report = false
  const ask = () =>
    client.submit({ ...PROBE, queue }).then(
      () => answered.resolve(),
      error => {
        // The answer that the task already exists comes from Redis, too.
        if (!error.retryable && error.status < 500) answered.resolve()
        if (report)
          answered.reject(new Error(`no submit to ${queue} through ${url} succeeded: ${error.message}`))
      },
    )
  void ask()
  const asking = setInterval(ask, PROBE_EVERY_MS)
  const limit = setTimeout(() => (report = true), PROBE_LIMIT_MS)
  try {
    await answered.promise
  } finally {
    clearInterval(asking)
    clearTimeout(limit)
  }
}
