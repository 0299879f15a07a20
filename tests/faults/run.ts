/** One run: starts all processes, injects the drawn faults, drains the queues, and runs the checker. */
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { encodeLimits } from "../../lib/queue/groups.ts"
import { keyOf } from "../../lib/redis/keys.ts"
import { until } from "../support/processes.ts"
import {
  type Counts,
  type Ending,
  Ledger,
  type Listed,
  noCounts,
  OF_LOSS,
  type Violation,
} from "./checker.ts"
import { EventWatch, type SeenEvent } from "./event-watch.ts"
import { type Done, drawFaults, FaultInjector, kindsOf, type Scene } from "./faults.ts"
import { checkForgotten, checkKeys, FinalClient } from "./final-checks.ts"
import { readHistory } from "./history.ts"
import { BrokerSeat, ClientSeat, plantedSign, type RunContext, WorkerSeat } from "./participants.ts"
import { ScheduleWatch } from "./schedules.ts"
import { singleServer, type Target } from "./target.ts"
import { shortestTimeline, type Timeline, timesOf } from "./timeline.ts"
import { GROUP_LIMITS, PLAIN_QUEUE, QUEUES } from "./workload.ts"

export interface Options {
  seed: number
  faults: number
  /** Replaces `faults`: faults are drawn until this many of them are failovers. */
  failovers?: number | undefined
  tasks: number
  brokers: number
  workers: number
  clients: number
  /** Tasks in a large submit, and in a lease request. */
  batch: number
  /** The shortest lease. Durations of faults scale with it: some outlast leases, others do not. */
  leaseMs: number
  /** The mean pause between faults. */
  gapMs: number
  /** Faults at a time. */
  atOnce: number
  /** The number of done tasks that are kept to the end and checked. If there are more, the newest are kept. */
  keepUpTo: number
  /** The time limit of the drain. */
  drainMs: number
  target: () => Promise<Target>
  planted?: string | undefined
  /** Only faults whose names start with this; default: all. */
  among?: string | undefined
  /** Keeps the histories. */
  keep?: boolean | undefined
  /** Receives progress messages. */
  report: (line: string) => void
}

export const DEFAULTS: Options = {
  seed: 1,
  faults: 100,
  tasks: 20_000,
  brokers: 3,
  workers: 4,
  clients: 2,
  batch: 100,
  leaseMs: 1_000,
  gapMs: 400,
  atOnce: 3,
  keepUpTo: 100_000,
  drainMs: 120_000,
  target: singleServer,
  report: () => {},
}

export interface Result {
  options: Options
  /** The name of the target, and whether its failovers may lose answered writes. */
  redis: string
  mayLose: boolean
  counts: Counts
  refusals: Record<string, number>
  faults: Done[]
  violations: Violation[]
  /** Violations by failovers, if Redis may lose answered writes. */
  allowed: Violation[]
  /** Faults in the Redis keys or at the end of the run that belong to no single task. */
  ofTheWhole: string[]
  shortest: Timeline | undefined
  /** The number of workers that their tasks killed. */
  ownDeaths: number
  /** The number of calls that had to be repeated after all faults had ended. */
  askedAgain: number
  workloadMs: number
  drainMs: number
  checkMs: number
}

/** The retention of done tasks if not all are kept: longer than any worker takes to repeat an ack. */
const RESULT_TTL_MS = 60_000
const DAY_MS = 86_400_000
/** The number of tasks that the checker holds in memory at a time. */
const SLICE = 250_000
/** With only these faults, an attempt that reached no worker may not count as a crash. */
export const LOST_REPLIES = "broker-redis dropReply"
/** By how many faults the clients may lag behind. */
const LAG = 10

export async function runFaults(given: Partial<Options>): Promise<Result> {
  const options = { ...DEFAULTS, ...given }
  const { seed, report, planted, keep } = options
  await using all = new AsyncDisposableStack()
  const directory = mkdtempSync("/tmp/tq-faults-")
  const remove = () =>
    keep ? report(`histories: ${directory}`) : rmSync(directory, { recursive: true, force: true })
  // Also if the run is ended with Ctrl-C.
  process.once("exit", remove)
  all.defer(() => {
    process.off("exit", remove)
    remove()
  })
  const target = all.use(await options.target())
  const runContext: RunContext = { target, directory, seed, planted }
  const complete = options.tasks <= options.keepUpTo
  const resultTtlMs = complete ? DAY_MS : RESULT_TTL_MS
  await limitGroups(target)
  const scene = await everybody(all, runContext, options, resultTtlMs)
  const { brokers, workers, clients } = scene
  const events = all.use(new EventWatch(brokers[0]!.clients.url, QUEUES[0]!))

  const schedules = all.use(await ScheduleWatch.start(brokers.map(({ clients: { url } }) => url)))

  const startedAt = performance.now()
  const { done: faults, unserved } = await trouble(scene, options)
  const workloadMs = performance.now() - startedAt

  report("draining")
  const ofTheWhole: string[] = [...unserved]
  const last = new FinalClient(brokers[0]!.url)
  const drainedFrom = performance.now()
  await last.drained(options.drainMs, report).catch((error: Error) => ofTheWhole.push(error.message))
  const drainMs = performance.now() - drainedFrom
  await Promise.all(workers.map(worker => worker.stop()))

  report("checking")
  const checkedFrom = performance.now()
  const listed = await last.list()
  ofTheWhole.push(...(await last.checkDlq(listed)), ...(await schedules.check(last)))
  await Promise.all(brokers.map(broker => broker.stop()))
  ofTheWhole.push(...(await checkKeys(target)), ...(await checkForgotten(runContext, brokers.length)))

  if (planted !== undefined && !existsSync(plantedSign(directory)))
    throw new Error(`"${planted}" was never loaded`)
  const files = [...clients.map(({ file }) => file), ...workers.flatMap(({ files }) => files)]
  const judged = await judge(files, listed, events.seen, Math.ceil(options.tasks / SLICE), {
    complete,
    resultTtlMs,
    failsOver: faults.some(({ failover }) => failover),
    losesOnlyReplies: options.among === LOST_REPLIES && workers.every(({ ownDeaths }) => ownDeaths === 0),
  })
  const { violations, allowed } = await partedByLoss(judged.violations, target.mayLose ? faults : [], files)
  const own = judged.refusals["!internal"]
  if (own !== undefined) ofTheWhole.push(`${own} answers had status 500`)
  await recoveriesOfWorkers(faults, workers)
  return {
    options,
    redis: target.name,
    mayLose: target.mayLose,
    ...judged,
    faults,
    violations,
    allowed,
    ofTheWhole,
    shortest: await shortestTimeline(violations, files),
    ownDeaths: workers.reduce((sum, { ownDeaths }) => sum + ownDeaths, 0),
    askedAgain: last.askedAgain,
    workloadMs,
    drainMs,
    checkMs: performance.now() - checkedFrom,
  }
}

/** How far back a failover can revert writes. */
const LOST_WITHIN_MS = 3_000

/** Separates violations that a lost write explains: those of tasks with an entry while a master was failing. */
async function partedByLoss(violations: Violation[], faults: readonly Done[], files: readonly string[]) {
  const explained = violations.filter(({ check }) => OF_LOSS.has(check))
  const failovers = faults.filter(({ failover }) => failover)
  if (explained.length === 0 || failovers.length === 0) return { violations, allowed: [] }
  const times = await timesOf(
    explained.map(({ n }) => n),
    files,
  )
  const isNear = (at: number) =>
    failovers.some(({ beganAt, healedAt }) => at > beganAt - LOST_WITHIN_MS && at < healedAt + LOST_WITHIN_MS)
  const allowed = new Set(explained.filter(({ n }) => times.get(n)!.some(isNear)))
  return { violations: violations.filter(violation => !allowed.has(violation)), allowed: [...allowed] }
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i)

/** The share of the client with this index. */
const share = (of: number, index: number, clients: number) =>
  Math.floor((of * (index + 1)) / clients) - Math.floor((of * index) / clients)

/** Starts all participants. */
async function everybody(
  all: AsyncDisposableStack,
  runContext: RunContext,
  options: Options,
  resultTtlMs: number,
): Promise<Scene> {
  const env = { IDEMPOTENCY_TTL_MS: `${5 * resultTtlMs}` }
  const brokers = numbers(options.brokers).map(i => all.use(new BrokerSeat(runContext, i, env)))
  await Promise.all(brokers.map(broker => broker.start()))
  const urls = (end: "clients" | "workers") => brokers.map(broker => broker[end].url)
  const workers = numbers(options.workers).map(i => {
    // Each starts with another queue, so that no queue is last for all workers.
    const queues = [...QUEUES.slice(i % QUEUES.length), ...QUEUES.slice(0, i % QUEUES.length)]
    const kind = i % 2 === 0 ? "work" : "lease"
    const part = { urls: urls("workers"), kind, queues, concurrency: options.batch } as const
    return all.use(new WorkerSeat(runContext, i, part))
  })
  const plain: WorkerSeat["part"] = {
    urls: urls("workers"),
    kind: "plain",
    queues: [PLAIN_QUEUE],
    concurrency: 1,
  }
  workers.push(all.use(new WorkerSeat(runContext, workers.length, plain)))
  await Promise.all(workers.map(worker => worker.start()))
  const pace = { batch: options.batch, leaseMs: options.leaseMs, poisonOneOf: 1_000 }
  const clients = numbers(options.clients).map(index => {
    const tasks = share(options.tasks, index, options.clients)
    return all.use(
      new ClientSeat(runContext, { index, urls: urls("clients"), tasks, pace, resultTtlMs, lanes: 4 }),
    )
  })
  return { target: runContext.target, brokers, workers, clients }
}

/** Injects the faults while the clients submit, so that both end at about the same time. */
async function trouble(scene: Scene, options: Options): Promise<FaultInjector> {
  const { seed, tasks, leaseMs, gapMs, failovers, atOnce, report } = options
  const { clients } = scene
  const kinds = Object.fromEntries(
    Object.entries(kindsOf(scene.target)).filter(([name]) => name.startsWith(options.among ?? "")),
  )
  const havoc = new FaultInjector(scene, kinds, atOnce)
  const drawn = drawFaults(seed, options.faults, kinds, { gapMs, leaseMs, failovers })
  const faults = drawn.length
  const made = () => {
    for (const client of clients) client.check()
    return clients.reduce((sum, client) => sum + client.made, 0)
  }
  const allow = (count: number) => {
    for (const [i, client] of clients.entries()) client.allow(share(count, i, clients.length))
  }
  for (const [i, fault] of drawn.entries()) {
    allow(Math.ceil((tasks * (i + 1)) / faults))
    await Bun.sleep(fault.gapMs)
    await until("the clients keep up", () => made() >= (tasks * (i - LAG)) / faults, 60_000)
    await havoc.begin(fault)
    if ((i + 1) % 50 === 0) report(`${i + 1} faults, ${made()} tasks submitted`)
  }
  await havoc.settled()
  allow(tasks)
  const finished = () => made() === tasks && clients.every(client => client.finished)
  await until("all is submitted", finished, 60_000 + tasks / 5)
  return havoc
}

/** Sets the limits of groups before the first task is submitted. */
async function limitGroups(target: Target): Promise<void> {
  for (const [queue, limits] of Object.entries(GROUP_LIMITS)) {
    const redis = await target.admin(queue)
    await redis.hset(keyOf(queue, "settings"), "groups", encodeLimits(limits))
    redis.disconnect()
  }
}

async function judge(
  files: readonly string[],
  listed: readonly Listed[],
  events: readonly SeenEvent[],
  slices: number,
  ending: Ending,
) {
  const counts = noCounts()
  const violations: Violation[] = []
  let refusals: Record<string, number> = {}
  for (let slice = 0; slice < slices; slice++) {
    const ledger = new Ledger(slice, slices)
    for (const file of files) await ledger.read(readHistory(file))
    for (const task of listed) ledger.list(task)
    ledger.see(events)
    ledger.judge(ending, counts, violation => violations.push(violation))
    // Each slice reads all calls.
    counts.calls = ledger.calls
    counts.unanswered = ledger.unanswered
    refusals = ledger.refusals
  }
  return { counts, violations, refusals }
}

/** A worker has recovered with its first answer after the fault. */
async function recoveriesOfWorkers(done: readonly Done[], workers: readonly WorkerSeat[]): Promise<void> {
  for (const { index, files } of workers) {
    const open = done.filter(({ worker }) => worker === index).sort((a, b) => a.healedAt - b.healedAt)
    for (const file of files)
      for await (const [kind, at] of readHistory(file)) {
        if (kind === "ack" || kind === "ran" || kind === "unanswered") continue
        while (open.length > 0 && open[0]!.healedAt <= at) open.shift()!.recoveredAt = at
      }
  }
}
