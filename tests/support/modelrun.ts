/** The model check: random commands, run on Redis and on the model, with the comparison after each. */
import { deepStrictEqual } from "node:assert"
import fc from "fast-check"
import { Redis } from "ioredis"
import { encodeNewTask, inlineOrLarge } from "../../lib/task/record.ts"
import { encodeSchedule, encodeState, type ScheduleState } from "../../lib/task/schedule.ts"
import { DirectQueue } from "./harness.ts"
import {
  type ChangeRequest,
  hasEnded,
  LATER_MS,
  Model,
  type ModelTask,
  type Settlement,
  type SubmitRequest,
} from "./model.ts"
import { compare } from "./model-compare.ts"
import type { GroupLimits } from "./model-groups.ts"
import type { RunRequest } from "./model-schedules.ts"
import { LIMITS, type Patch, patching } from "./patch.ts"
import { onOneConnection, testRedis } from "./redis.ts"

const TIMEOUT_MS = 30_000_000
const RUNTIME_MS = 100_000_000
const BACKOFF_MS = 1_000_000
const FORGED = `1.${"x".repeat(22)}`

/** The queue on Redis that the commands run on. */
class Real {
  tokens = 0
  created = 0
  constructor(
    readonly direct: DirectQueue,
    readonly queue: string,
  ) {}

  token = () => String(++this.tokens).padStart(22, "0")
  call: DirectQueue["scripts"]["call"] = (name, _, args, items) =>
    this.direct.scripts.call(name, this.queue, args, items)
  key = (name: Parameters<DirectQueue["key"]>[0], id = "") => this.direct.key(name, id)
}

type Step = fc.AsyncCommand<Model, Real>

/** A command runs on both sides; if its reply is lost, it runs again. Compares the answers, then all tasks. */
abstract class Command implements Step {
  constructor(readonly lost: boolean) {}
  check(_: Readonly<Model>): boolean {
    return true
  }
  abstract once(model: Model, real: Real): Promise<{ expected: unknown; answer: unknown }>
  /** Whether the repetition must get the same answer as the first call. */
  repeatsAnswer(): boolean {
    return true
  }
  abstract describe(): string

  async run(model: Model, real: Real): Promise<void> {
    const { expected, answer } = await this.once(model, real)
    deepStrictEqual(answer, expected, `${this}: the answer`)
    if (this.lost) {
      await compare(model, real, `${this}, after the first call`)
      const again = await this.once(model, real)
      deepStrictEqual(again.answer, again.expected, `${this}: the answer to its repetition`)
      if (this.repeatsAnswer()) deepStrictEqual(again.answer, answer, `${this}: both answers`)
    }
    await compare(model, real, String(this))
  }

  toString(): string {
    return `${this.describe()}${this.lost ? ", its reply lost, and again" : ""}`
  }
}

/** One call for several tasks, which must have the same effect as one call per task. */
class Submit extends Command {
  constructor(
    readonly all: SubmitRequest[],
    lost: boolean,
  ) {
    super(lost)
  }
  // The first answer is "queued", the repetition "replay_queued".
  override repeatsAnswer = () => false
  async once(model: Model, real: Real) {
    const all = this.all.map(request => ({ ...request, id: request.id || `n${++real.created}` }))
    const expected = model.submit(all)
    const answer = await real.direct.submitEach(LATER_MS, all.map(submitItem))
    return { expected, answer }
  }
  describe = () => `submit(${this.all.map(describeSubmit).join("; ")})`
}

/** An item as the broker encodes it: one that asks for nothing more takes the fast path of submit. */
const submitItem = (request: SubmitRequest) => {
  const { id, type, payload, priority, maxRetries, maxCrashes, backoff, members } = request
  const task = encodeNewTask({
    queue: "",
    type,
    payload,
    memberJson: members || undefined,
    redact: request.redact || undefined,
    policy: {
      priority,
      maxRetries,
      maxCrashes,
      timeoutMs: TIMEOUT_MS,
      ...(request.limited ? { maxRuntimeMs: RUNTIME_MS } : {}),
      ...(request.hasTtl ? { resultTtlMs: LATER_MS } : {}),
      ...(backoff ? { backoff: { kind: backoff, delay_ms: BACKOFF_MS, jitter: false } } : {}),
    },
    when: request.later ? `+${LATER_MS}` : undefined,
    expiresInMs: request.expiring ? LATER_MS : undefined,
    idempotency: request.key ? { key: request.key, print: request.print } : undefined,
    group: request.group || undefined,
    unique: request.unique ? { key: request.unique, replace: request.replace } : undefined,
  })
  return { id, ...task }
}

const describeSubmit = ({
  id,
  later,
  type,
  payload,
  unique,
  replace,
  key,
  members,
  group,
  ...rest
}: SubmitRequest) =>
  [
    ...(group ? [`group ${group}`] : []),
    ...[id || "a new one", type, `P${rest.priority}`],
    ...[`${rest.maxRetries} retries`, `${rest.maxCrashes} crashes`],
    ...(later ? ["delayed"] : []),
    ...(rest.backoff ? [`${rest.backoff} backoff`] : []),
    ...(rest.expiring ? ["expiring"] : []),
    ...(rest.limited ? ["with a hard end"] : []),
    ...(unique ? [`unique ${unique}${replace ? " (replace)" : ""}`] : []),
    ...(key ? [`key ${key}/${rest.print}`] : []),
    ...(payload.length > 256 ? ["large"] : []),
    ...(members ? [`with ${members}`] : []),
    ...(rest.redact ? ["redacted"] : []),
    ...(rest.hasTtl ? ["with a retention"] : []),
  ].join(", ")

class Lease extends Command {
  constructor(
    readonly count: number,
    lost: boolean,
  ) {
    super(lost)
  }
  override repeatsAnswer = () => false
  async once(model: Model, real: Real) {
    const tokens = Array.from({ length: this.count }, real.token)
    const expected = model.lease(tokens)
    const [, ...tasks] = await real.direct.leaseEach(
      { limit: 1_000, retention: LATER_MS, tokens: tokens.join("") },
      { worker: "w", slots: this.count },
    )
    const answer = tasks.map(({ id, lease, checkpoint = "", type, payload, memberJson = "", retries }) => ({
      id,
      lease,
      checkpoint,
      type: JSON.parse(type),
      payload,
      members: memberJson,
      retries,
    }))
    return { expected, answer }
  }
  describe = () => `lease(${this.count})`
}

/** The lease that the caller names. */
type LeaseChoice = "right" | "stale" | "none"
function leaseOf(task: ModelTask | undefined, choice: LeaseChoice): string {
  if (choice === "none") return ""
  if (choice === "right") return task?.lease || FORGED
  return task?.leases.at(-2) ?? FORGED
}

/** A command for one task: the nth of the existing ones. */
abstract class OfTask extends Command {
  constructor(
    readonly nth: number,
    lost: boolean,
  ) {
    super(lost)
  }
  id = "?"
  override check(model: Readonly<Model>): boolean {
    return model.tasks.size > 0
  }
  target(model: Model): string {
    const ids = [...model.tasks.keys()]
    this.id = ids.length === 0 ? "nobody" : ids[this.nth % ids.length]!
    return this.id
  }
}

/** A settlement of the nth task. */
interface End {
  nth: number
  choice: LeaseChoice
  outcome: Settlement["outcome"]
  retry: string
  holds: boolean
  text: string
}

/** One call for several tasks, which may repeat a task. */
class Settle extends Command {
  constructor(
    readonly all: End[],
    lost: boolean,
  ) {
    super(lost)
  }
  settlements: Settlement[] = []
  // A task stores only its newest settlement, so a repeated ack of an older lease is answered lease_lost.
  override repeatsAnswer = () =>
    this.settlements.every(({ id, lease }) =>
      this.settlements.every(other => other.id !== id || other.lease === lease),
    )
  override check(model: Readonly<Model>): boolean {
    return model.tasks.size > 0
  }
  async once(model: Model, real: Real) {
    const ids = [...model.tasks.keys()]
    this.settlements = this.all.map(({ nth, choice, outcome, retry, holds, text }) => {
      const id = ids[nth % ids.length]!
      const lease = leaseOf(model.tasks.get(id), choice)
      const fits = outcome === "failed" || (outcome === "released" && retry !== "no")
      return { id, lease, outcome, retry: fits ? retry : "", holds, text }
    })
    const expected = model.settle(this.settlements)
    const items = this.settlements.map(({ id, lease, outcome, retry, holds, text }) => ({
      id,
      lease,
      outcome,
      retry: holds && outcome !== "done" ? `${retry}=${LATER_MS}` : retry,
      text,
    }))
    const answers = await real.direct.settleEach(LATER_MS, items)
    return { expected, answer: answers.map(answer => answer.slice(0, 2)) }
  }
  describe = () =>
    `ack(${this.settlements.map((settlement, i) => describeEnd(settlement, this.all[i]!)).join("; ")})`
}

const describeEnd = ({ id, outcome, retry, holds }: Settlement, { choice }: End) =>
  `${id}, ${outcome}${retry ? ` retry ${retry}` : ""}${holds ? ", its group held" : ""}, ${choice === "none" ? "no" : choice} lease`

class Extend extends OfTask {
  constructor(
    nth: number,
    readonly choice: "right" | "stale",
    readonly checkpoint: string,
    lost: boolean,
  ) {
    super(nth, lost)
  }
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const lease = leaseOf(model.tasks.get(id), this.choice)
    const expected = model.extend(id, lease, this.checkpoint)
    const item = { id, lease, timeout: "", progress: "", checkpoint: this.checkpoint, log: "" }
    const [answer] = await real.call("extend", "", {}, [item])
    return { expected, answer: answer?.slice(0, 1) }
  }
  describe = () => `extend(${this.id}, ${this.choice} lease${this.checkpoint ? ", checkpoint" : ""})`
}

class Cancel extends OfTask {
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const expected = model.cancel(id)
    model.dropStale()
    const [answer] = await real.call("cancel", "", { retention: LATER_MS }, [{ id }])
    return { expected, answer: answer?.slice(0, 1) }
  }
  describe = () => `cancel(${this.id})`
}

class RetryDead extends OfTask {
  override repeatsAnswer = () => false
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const expected = model.retryDead(id)
    const [answer] = await real.call("retryDead", "", { before: "" }, [{ id, inline: "", large: "" }])
    return { expected, answer: answer?.[0] }
  }
  describe = () => `retryDead(${this.id})`
}

class Change extends OfTask {
  constructor(
    nth: number,
    readonly change: ChangeRequest,
    lost: boolean,
  ) {
    super(nth, lost)
  }
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const { payload, priority, when } = this.change
    const expected = model.change(id, this.change)
    const body = inlineOrLarge(payload)
    // Later than any expiry.
    const start = { "": "", now: "+0", later: `+${2 * LATER_MS}` }[when]
    const item = { id, ...body, priority, when: start, members: "", known: "" }
    const [answer] = await real.call("change", "", {}, [item])
    return { expected, answer: answer?.[0] }
  }
  describe = () => `change(${this.id}, ${JSON.stringify(this.change)})`
}

class DeleteEnded extends OfTask {
  override repeatsAnswer = () => false
  constructor(
    nth: number,
    readonly states: string,
    lost: boolean,
  ) {
    super(nth, lost)
  }
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const expected = model.deleteEnded(id, this.states.split(" "))
    const [answer] = await real.call("deleteEnded", "", { states: this.states, before: "" }, [{ id }])
    return { expected, answer: answer?.[0] }
  }
  describe = () => `deleteEnded(${this.id}, ${this.states})`
}

class Purge extends Command {
  constructor(
    readonly place: string,
    lost: boolean,
  ) {
    super(lost)
  }
  override repeatsAnswer = () => false
  async once(model: Model, real: Real) {
    const expected = model.purge(this.place)
    const answer = await real.call("purge", "", { place: this.place, limit: 1_000 })
    return { expected, answer }
  }
  describe = () => `purge(${this.place})`
}

class Pause extends Command {
  constructor(
    readonly on: boolean,
    lost: boolean,
  ) {
    super(lost)
  }
  async once(model: Model, real: Real) {
    model.paused = this.on
    const since = await real.call("pause", "", { on: this.on ? 1 : 0, reason: "" })
    return { expected: this.on, answer: since > 0 }
  }
  describe = () => (this.on ? "pause()" : "resume()")
}

/** Pauses or resumes a group. */
class PauseGroup extends Command {
  constructor(
    readonly group: string,
    readonly on: boolean,
    lost: boolean,
  ) {
    super(lost)
  }
  async once(model: Model, real: Real) {
    const { groups } = model
    if (this.on) groups.paused.add(this.group)
    else groups.paused.delete(this.group)
    groups.lookAgain(this.group)
    groups.commit()
    const change = this.on ? "pause" : "resume"
    const answer = await real.call("setGroup", "", { group: this.group, change, value: "" })
    return { expected: this.on, answer: answer !== "" }
  }
  describe = () => `${this.on ? "pause" : "resume"}Group(${this.group})`
}

/** Lets the time end for which workers have asked to hold groups. */
class AskedHoldsEnd extends Command {
  async once({ groups }: Model, real: Real) {
    for (const group of ["", ...groups.asked]) await real.direct.redis.del(real.key("asked", group))
    groups.asked.clear()
    groups.isTime = true
    for (const entry of groups.held) await real.direct.redis.zadd(real.key("expiring"), "XX", 0, `=${entry}`)
    return { expected: 0, answer: 0 }
  }
  describe = () => "askedHoldsEnd()"
}

/** Stores a schedule. Its repetition, after a lost reply, finds that it has changed. */
class SetSchedule extends Command {
  constructor(
    readonly name: string,
    lost: boolean,
  ) {
    super(lost)
  }
  override repeatsAnswer = () => false
  before: string | undefined
  override run(model: Model, real: Real) {
    this.before = undefined
    return super.run(model, real)
  }
  async once({ schedules }: Model, real: Real) {
    const found = schedules.all.get(this.name)
    const isFirst = this.before === undefined
    this.before ??= found === undefined ? "" : encodeState(found)
    const { before } = this
    const schedule = isFirst ? schedules.set(this.name) : found!
    const answer = await real.call("scheduleSet", "", {
      name: this.name,
      before,
      ...storedSchedule(schedule),
    })
    return { expected: isFirst ? "set" : "stale", answer }
  }
  describe = () => `setSchedule(${this.name})`
}

const storedSchedule = (schedule: ScheduleState) => ({
  text: encodeSchedule({
    ...schedule,
    pauseReason: "",
    definition: { every_ms: 1_000, task: { type: "t" } },
    payload: "{}",
  }),
  score: schedule.planned,
})

type Run = Pick<RunRequest, "missed" | "overlap" | "task"> & { empty: boolean }

/** Runs a schedule for its next planned times, or from one that has passed. Its repetition must find that it has run. */
class FireSchedule extends Command {
  constructor(
    readonly name: string,
    readonly late: boolean,
    readonly runs: readonly Run[],
    lost: boolean,
  ) {
    super(lost)
  }
  override repeatsAnswer = () => false
  sent: RunRequest[] | undefined
  override run(model: Model, real: Real) {
    this.sent = undefined
    return super.run(model, real)
  }
  async once(model: Model, real: Real) {
    const { name, late } = this
    const { version = 1, planned = 1 } = model.schedules.all.get(name) ?? {}
    const first = planned - (late && planned > 1 ? 1 : 0)
    this.sent ??= this.runs.map(({ empty, ...run }, i) => ({
      ...run,
      name,
      version,
      planned: first + i,
      at: empty ? 0 : first + i,
    }))
    const expected = this.sent.map(run => model.schedules.fire(model, run))
    const items = this.sent.map(({ planned: planned_at, at, task, ...run }) => {
      const { body, large, options } = submitItem(task)
      const next = { next_at: planned_at + 1, score: planned_at + 1 }
      return { ...run, ...next, planned_at, at: at || "", body, large, options }
    })
    const answers = await real.call("scheduleFire", "", { retention: LATER_MS, ttl: LATER_MS }, items)
    const all = typeof answers === "number" ? items.map(({ at }) => ["fired", `${name}-${at}`]) : answers
    return { expected, answer: all.map(answer => answer.slice(0, 2)) }
  }
  describe = () =>
    `fireSchedule(${this.name}${this.late ? ", late" : ""}, ${this.runs.map(describeRun).join("; ")})`
}

const describeRun = ({ overlap, empty, task }: Run) => `${overlap} ${empty ? "" : describeSubmit(task)}`

class Sweep extends Command {
  async once(model: Model, real: Real) {
    model.sweep()
    const bounds = { limit: 1_000, retention: LATER_MS, dead_retention: LATER_MS, keep: 1e9, keep_dead: 1e9 }
    const [more] = await real.call("sweep", "", { ...bounds, polled: 0 })
    return { expected: 0, answer: more }
  }
  describe = () => "sweep()"
}

/** Lets the timer of a task expire: its lease, its delay or its retention. */
class TimePasses extends OfTask {
  async once(model: Model, real: Real) {
    const task = model.tasks.get(this.target(model))
    if (task === undefined || task.state === "queued" || task.past > 0) return { expected: 0, answer: 0 }
    task.past = model.nextTime()
    const place = hasEnded(task) ? task.state : task.state === "processing" ? "leases" : "due"
    if (place === "done") await real.direct.ageDone(task.id)
    else await real.direct.redis.zadd(real.key(place as "dead"), "XX", task.past, task.id)
    return { expected: 0, answer: 0 }
  }
  describe = () => `timePasses(${this.id})`
}

/** Lets the max_runtime of a running attempt expire. */
class MaxRuntimeEnds extends OfTask {
  async once(model: Model, real: Real) {
    const task = model.tasks.get(this.target(model))
    if (task?.state !== "processing" || !task.limited || task.overrun > 0) return { expected: 0, answer: 0 }
    const started = model.nextTime()
    task.past = task.overrun = started + RUNTIME_MS
    await real.direct.setField(task.id, "started", started)
    await real.direct.redis.zadd(real.key("leases"), "XX", task.past, task.id)
    return { expected: 0, answer: 0 }
  }
  describe = () => `hardEndComes(${this.id})`
}

/** Lets the time pass after which no attempt may start. */
class ExpiryPasses extends OfTask {
  async once(model: Model, real: Real) {
    const task = model.tasks.get(this.target(model))
    if (task === undefined || !task.expiring || hasEnded(task) || task.expired > 0)
      return { expected: 0, answer: 0 }
    task.expired = model.nextTime()
    await real.direct.expire(task.id, task.expired)
    return { expected: 0, answer: 0 }
  }
  describe = () => `expiryComes(${this.id})`
}

/** Members whose text looks like the end of extras, or like others. */
const MEMBERS = [
  '"meta":{"quote":"\\"","end":"\\\\"}',
  '"meta":{"":"}\\n"},"tracestate":"\\"}\\n"',
  '"meta":{"\\",\\"redact\\":\\"1":"{\\"extra\\":\\"\\"}","é\\u0000":"😀\\ud800"}',
]

const lost = fc.boolean()
const rarely = fc.integer({ min: 0, max: 2 }).map(n => n === 2)
/** So that most tasks take the fast paths of the scripts. */
const seldom = fc.integer({ min: 0, max: 9 }).map(n => n === 9)
const nth = fc.nat({ max: 5 })
const anyTasks: fc.Arbitrary<SubmitRequest> = fc
  .record({
    id: fc.constantFrom("", "", "a", "b"),
    later: rarely,
    type: fc.constantFrom("t", "t", "another type"),
    payload: fc.constantFrom("{}", '"another"', JSON.stringify("large".repeat(60))),
    priority: fc.constantFrom(5, 5, 9, 0),
    maxRetries: fc.nat({ max: 2 }),
    maxCrashes: fc.nat({ max: 2 }),
    backoff: fc.constantFrom("", "", "fixed", "exponential"),
    limited: rarely,
    expiring: rarely,
    key: fc.constantFrom("", "", "", "k1", "k2"),
    print: fc.constantFrom("p", "p", "q"),
    unique: fc.constantFrom("", "u", "u", "v"),
    replace: fc.boolean(),
    members: fc.constantFrom("", "", ...MEMBERS),
    redact: seldom,
    hasTtl: seldom,
    group: fc.constantFrom("", "", "a", "b"),
  })
  .map(drawn => drawn as SubmitRequest)
const plainTasks = anyTasks.map(drawn => ({
  ...drawn,
  later: false,
  expiring: false,
  key: "",
  unique: "",
}))
const request = fc.oneof(plainTasks, anyTasks)
const right = fc.constantFrom<LeaseChoice>("right", "right", "right", "stale", "none")
const outcome = fc.constantFrom(
  "done" as const,
  "done" as const,
  "failed" as const,
  "failed" as const,
  "released" as const,
)
const retry = fc.constantFrom("" as const, "" as const, "no" as const, "0" as const, "1000000" as const)

const end: fc.Arbitrary<End> = fc.record({
  nth,
  choice: right,
  outcome,
  retry,
  holds: rarely,
  text: fc.constantFrom('"result"', '"result"', ""),
})

const change: fc.Arbitrary<ChangeRequest> = fc.record({
  payload: fc.constantFrom("", '"changed"', JSON.stringify("changed".repeat(60))),
  priority: fc.constantFrom(5, 5, 9),
  when: fc.constantFrom("" as const, "now" as const, "later" as const),
})

const run = fc.record({
  empty: rarely,
  missed: fc.nat({ max: 2 }),
  overlap: fc.constantFrom("allow" as const, "skip" as const, "cancel" as const),
  task: anyTasks.map(drawn => ({ ...drawn, later: false, key: "", group: "" })),
})

const commands = [
  fc.tuple(request, lost).map(([one, lost]) => new Submit([one], lost)),
  fc
    .tuple(fc.array(request, { minLength: 1, maxLength: 3 }), lost)
    .map(([all, lost]) => new Submit(all, lost)),
  fc.tuple(fc.integer({ min: 1, max: 4 }), rarely).map(([count, lost]) => new Lease(count, lost)),
  fc.tuple(end, lost).map(([one, lost]) => new Settle([one], lost)),
  fc.tuple(fc.array(end, { minLength: 1, maxLength: 4 }), lost).map(([all, lost]) => new Settle(all, lost)),
  fc
    .tuple(nth, fc.constantFrom("right" as const, "stale" as const), fc.constantFrom("", "1", "2"), lost)
    .map(args => new Extend(...args)),
  fc.tuple(nth, lost).map(args => new Cancel(...args)),
  fc.tuple(nth, lost).map(args => new RetryDead(...args)),
  fc.tuple(nth, change, lost).map(args => new Change(...args)),
  fc.tuple(nth, fc.constantFrom("dead", "done dead cancelled"), lost).map(args => new DeleteEnded(...args)),
  fc
    .tuple(fc.constantFrom("5", "9", "held", "due", "done", "dead", "cancelled"), lost)
    .map(args => new Purge(...args)),
  fc.tuple(rarely, lost).map(args => new Pause(...args)),
  fc.tuple(fc.constantFrom("a", "b"), rarely, lost).map(args => new PauseGroup(...args)),
  rarely.map(() => new AskedHoldsEnd(false)),
  fc.tuple(fc.constantFrom("s", "z"), lost).map(args => new SetSchedule(...args)),
  fc
    .tuple(fc.constantFrom("s", "z"), rarely, fc.array(run, { minLength: 1, maxLength: 3 }), lost)
    .map(args => new FireSchedule(...args)),
  rarely.map(lost => new Sweep(lost)),
  nth.map(n => new TimePasses(n, false)),
  nth.map(n => new TimePasses(n, false)),
  nth.map(n => new MaxRuntimeEnds(n, false)),
  nth.map(n => new ExpiryPasses(n, false)),
]

const NO_SETTINGS = { concurrency: "", per_second: "", burst: "", rates: "", attention: "" }
const anyLimits = fc.constantFrom<GroupLimits>(
  {},
  { concurrency: 1 },
  { concurrency: 2 },
  { order: "strict" },
  { order: "strict", on_dead: "block" },
)

interface ModelRun {
  runs: number
  seed?: number | undefined
  patch?: Patch | undefined
  /** "throw" an error with the shrunk sequence, or "return" it in the details. */
  onFailure?: "throw" | "return"
}

/** Runs the check on its own Redis. A failure names the seed and path that reproduce it. */
export async function checkModel({ runs, seed, patch, onFailure = "throw" }: ModelRun) {
  await using server = await testRedis()
  const control = new Redis(server.socket)
  let lives = 0
  const steps = fc.commands(commands, { maxCommands: 60, size: "max" })
  const property = fc.asyncProperty(anyLimits, steps, async (limits, steps) => {
    const run = (redis: Redis) => (patch ? patching(onOneConnection(redis), patch) : onOneConnection(redis))
    await using direct = new DirectQueue(server.socket, `m${++lives}`, run, LIMITS)
    const model = new Model()
    model.groups.limits = limits
    await direct.scripts.call("settings", direct.name, {
      ...NO_SETTINGS,
      group_limits: JSON.stringify(limits),
    })
    await fc.asyncModelRun(() => ({ model, real: new Real(direct, direct.name) }), steps)
    await control.flushdb()
  })
  try {
    const details = await fc.check(property, {
      numRuns: runs,
      ...(seed === undefined ? {} : { seed }),
    })
    if (details.failed && onFailure === "throw") {
      const cause = details.errorInstance
      throw new Error(
        `${await fc.asyncDefaultReportMessage(details)}\n${cause instanceof Error ? cause.message : cause}`,
      )
    }
    return details
  } finally {
    control.disconnect()
  }
}
