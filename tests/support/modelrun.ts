/** The commands of the model check, how each is done to Redis, and how the two are compared. */
import { deepStrictEqual } from "node:assert"
import fc from "fast-check"
import { Redis } from "ioredis"
import { prepareScript, type ScriptName, scriptText } from "../../lib/redis/scripts.ts"
import { onOneConnection, type Runner } from "../../lib/redis/store.ts"
import { encodeNewTask } from "../../lib/task/record.ts"
import { DirectQueue } from "./harness.ts"
import { bytesHeld, bytesRecorded, contradictionsOf, dump, sorted } from "./invariants.ts"
import { type Asked, ended, type Known, LATER_MS, Model, type Said } from "./model.ts"
import { testRedis } from "./redis.ts"

/** So that bytes are counted. */
const LIMITS = { depth: 0, bytes: 1_000_000_000 }
const TIMEOUT_MS = 30_000_000
const RUNTIME_MS = 100_000_000
const BACKOFF_MS = 1_000_000
const FORGED = `1.${"x".repeat(22)}`

/** A change of one script's text, in memory. */
export interface Patch {
  script: ScriptName
  /** Stands in the script (or in the prelude) exactly once. */
  line: string
  becomes: string
}

/** The text of a script with the patch; throws where the line is not there, or not alone. */
export function patched({ script, line, becomes }: Patch): string {
  const text = scriptText(script, LIMITS)
  const found = text.split(line).length - 1
  if (found !== 1) throw new Error(`"${line}" stands ${found} times in ${script}.lua, and not once`)
  return text.replace(line, () => becomes)
}

/** Runs the patched script in the place of its original. */
function patching(runner: Runner, patch: Patch): Runner {
  const original = scriptText(patch.script, LIMITS)
  const other = prepareScript(patched(patch))
  return {
    run: (script, ...rest) => runner.run(script.text === original ? other : script, ...rest),
  }
}

/** A queue on Redis that the commands are done to. */
class Real {
  tokens = 0
  made = 0
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

/** A command: done to both, its answers compared, again where the reply is lost, and then all tasks. */
abstract class Command implements Step {
  constructor(readonly lost: boolean) {}
  check(_: Readonly<Model>): boolean {
    return true
  }
  abstract once(model: Model, real: Real): Promise<{ expected: unknown; answer: unknown }>
  /** Whether the repetition must be answered as the first call would have been. */
  same(): boolean {
    return true
  }
  abstract words(): string

  async run(model: Model, real: Real): Promise<void> {
    const { expected, answer } = await this.once(model, real)
    deepStrictEqual(answer, expected, `${this}: the answer`)
    if (this.lost) {
      await compare(model, real, `${this}, after the first call`)
      const again = await this.once(model, real)
      deepStrictEqual(again.answer, again.expected, `${this}: the answer to its repetition`)
      if (this.same()) deepStrictEqual(again.answer, answer, `${this}: both answers`)
    }
    await compare(model, real, String(this))
  }

  toString(): string {
    return `${this.words()}${this.lost ? ", its reply lost, and again" : ""}`
  }
}

/** One call for several tasks, which must come to the same as a call for each. */
class Submit extends Command {
  constructor(
    readonly all: Asked[],
    lost: boolean,
  ) {
    super(lost)
  }
  // The first answer says "queued", its repetition "replay_queued".
  override same = () => false
  async once(model: Model, real: Real) {
    const all = this.all.map(asked => ({ ...asked, id: asked.id || `n${++real.made}` }))
    const expected = all.map(asked => model.submit(asked))
    const answer = await real.direct.submitEach(LATER_MS, all.map(submitItem))
    return { expected, answer }
  }
  words = () => `submit(${this.all.map(askedInWords).join("; ")})`
}

/** As the broker writes it: a task that asks for nothing rare is a plain one, which goes the short way. */
const submitItem = (asked: Asked) => {
  const { id, payload, priority, maxRetries, maxCrashes, backoff } = asked
  const task = encodeNewTask({
    queue: "",
    type: "t",
    payload,
    policy: {
      ...{ priority, maxRetries, maxCrashes, timeoutMs: TIMEOUT_MS },
      ...(asked.limited ? { maxRuntimeMs: RUNTIME_MS } : {}),
      ...(backoff ? { backoff: { kind: backoff, delay_ms: BACKOFF_MS, jitter: false } } : {}),
    },
    when: asked.later ? `+${LATER_MS}` : undefined,
    expiresInMs: asked.expiring ? LATER_MS : undefined,
    idempotency: asked.key ? { key: asked.key, print: asked.print } : undefined,
    unique: asked.unique ? { key: asked.unique, replace: asked.replace } : undefined,
  })
  return { id, ...task }
}

const askedInWords = ({ id, later, payload, unique, replace, key, ...rest }: Asked) =>
  [
    ...[id || "a new one", `P${rest.priority}`, `${rest.maxRetries} retries`, `${rest.maxCrashes} crashes`],
    ...(later ? ["delayed"] : []),
    ...(rest.backoff ? [`${rest.backoff} backoff`] : []),
    ...(rest.expiring ? ["expiring"] : []),
    ...(rest.limited ? ["with a hard end"] : []),
    ...(unique ? [`unique ${unique}${replace ? " (replace)" : ""}`] : []),
    ...(key ? [`key ${key}/${rest.print}`] : []),
    ...(payload.length > 256 ? ["large"] : []),
  ].join(", ")

class Lease extends Command {
  constructor(
    readonly count: number,
    lost: boolean,
  ) {
    super(lost)
  }
  override same = () => false
  async once(model: Model, real: Real) {
    const tokens = Array.from({ length: this.count }, real.token)
    const expected = model.lease(tokens)
    const [, ...tasks] = await real.direct.leaseEach(
      { limit: 1_000, retention: LATER_MS, tokens: tokens.join("") },
      { worker: "w", slots: this.count },
    )
    const answer = tasks.map(({ id, lease, checkpoint = "", payload, retries }) => ({
      ...{ id, lease, checkpoint, payload, retries },
    }))
    return { expected, answer }
  }
  words = () => `lease(${this.count})`
}

/** Which lease the caller names. */
type Which = "right" | "stale" | "none"
function leaseOf(task: Known | undefined, which: Which): string {
  if (which === "none") return ""
  if (which === "right") return task?.lease || FORGED
  return task?.leases.at(-2) ?? FORGED
}

/** A command for one task: the nth of those that there are. */
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

/** One end of an attempt: of the nth task. */
interface End {
  nth: number
  which: Which
  outcome: Said["outcome"]
  retry: string
  text: string
}

/** One call for several tasks, or for one of them again. */
class Settle extends Command {
  constructor(
    readonly all: End[],
    lost: boolean,
  ) {
    super(lost)
  }
  said: Said[] = []
  // Of a task only its newest settlement is remembered: the ack of an older lease is lost once a newer one has come.
  override same = () =>
    this.said.every(({ id, lease }) => this.said.every(other => other.id !== id || other.lease === lease))
  override check(model: Readonly<Model>): boolean {
    return model.tasks.size > 0
  }
  async once(model: Model, real: Real) {
    const ids = [...model.tasks.keys()]
    this.said = this.all.map(({ nth, which, outcome, retry, text }) => {
      const id = ids[nth % ids.length]!
      const lease = leaseOf(model.tasks.get(id), which)
      return { id, lease, outcome, retry: outcome === "failed" ? retry : "", text }
    })
    const expected = model.settle(this.said)
    const items = this.said.map(({ id, lease, outcome, retry, text }) => ({
      id,
      lease,
      outcome,
      retry,
      text: outcome === "released" ? "" : text,
    }))
    const answers = await real.direct.settleEach(LATER_MS, items)
    return { expected, answer: answers.map(answer => answer.slice(0, 2)) }
  }
  words = () => `ack(${this.said.map((said, i) => endInWords(said, this.all[i]!)).join("; ")})`
}

const endInWords = ({ id, outcome, retry }: Said, { which }: End) =>
  `${id}, ${outcome}${retry ? ` retry ${retry}` : ""}, ${which === "none" ? "no" : which} lease`

class Extend extends OfTask {
  constructor(
    nth: number,
    readonly which: "right" | "stale",
    readonly checkpoint: string,
    lost: boolean,
  ) {
    super(nth, lost)
  }
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const lease = leaseOf(model.tasks.get(id), this.which)
    const expected = model.extend(id, lease, this.checkpoint)
    const item = { id, lease, timeout: "", progress: "", checkpoint: this.checkpoint, log: "" }
    const [answer] = await real.call("extend", "", {}, [item])
    return { expected, answer: answer?.slice(0, 1) }
  }
  words = () => `extend(${this.id}, ${this.which} lease${this.checkpoint ? ", checkpoint" : ""})`
}

class Cancel extends OfTask {
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const expected = model.cancel(id)
    const [answer] = await real.call("cancel", "", { retention: LATER_MS }, [{ id }])
    return { expected, answer: answer?.slice(0, 1) }
  }
  words = () => `cancel(${this.id})`
}

class Redrive extends OfTask {
  override same = () => false
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const expected = model.retryDead(id)
    const [answer] = await real.call("retryDead", "", {}, [{ id, inline: "", large: "" }])
    return { expected, answer }
  }
  words = () => `retryDead(${this.id})`
}

class Discard extends OfTask {
  override same = () => false
  async once(model: Model, real: Real) {
    const id = this.target(model)
    const expected = model.deleteDead(id)
    const [answer] = await real.call("deleteDead", "", {}, [{ id }])
    return { expected, answer }
  }
  words = () => `deleteDead(${this.id})`
}

class Purge extends Command {
  constructor(
    readonly place: string,
    lost: boolean,
  ) {
    super(lost)
  }
  override same = () => false
  async once(model: Model, real: Real) {
    const expected = model.purge(this.place)
    const answer = await real.call("purge", "", { place: this.place, limit: 1_000 })
    return { expected, answer }
  }
  words = () => `purge(${this.place})`
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
  words = () => (this.on ? "pause()" : "resume()")
}

class Sweep extends Command {
  async once(model: Model, real: Real) {
    model.sweep()
    const bounds = { limit: 1_000, retention: LATER_MS, dead_retention: LATER_MS, keep: 1e9, keep_dead: 1e9 }
    const [more] = await real.call("sweep", "", { ...bounds, polled: 0 })
    return { expected: 0, answer: more }
  }
  words = () => "sweep()"
}

/** Time moves: what is set for the task has come, be it the lapse of its lease, its delay or its retention. */
class Pass extends OfTask {
  async once(model: Model, real: Real) {
    const task = model.tasks.get(this.target(model))
    if (task === undefined || task.state === "queued" || task.past > 0) return { expected: 0, answer: 0 }
    task.past = model.tick()
    const place = ended(task) ? task.state : task.state === "processing" ? "leases" : "due"
    await real.direct.redis.zadd(real.key(place as "done"), "XX", task.past, task.id)
    return { expected: 0, answer: 0 }
  }
  words = () => `timePasses(${this.id})`
}

/** Time moves: the hard end of a running attempt has come. */
class Overrun extends OfTask {
  async once(model: Model, real: Real) {
    const task = model.tasks.get(this.target(model))
    if (task?.state !== "processing" || !task.limited || task.overrun > 0) return { expected: 0, answer: 0 }
    const started = model.tick()
    task.past = task.overrun = started + RUNTIME_MS
    await real.direct.setField(task.id, "started", started)
    await real.direct.redis.zadd(real.key("leases"), "XX", task.past, task.id)
    return { expected: 0, answer: 0 }
  }
  words = () => `hardEndComes(${this.id})`
}

/** Time moves: it is too late for another attempt. */
class Expire extends OfTask {
  async once(model: Model, real: Real) {
    const task = model.tasks.get(this.target(model))
    if (task === undefined || !task.expiring || ended(task) || task.expired > 0)
      return { expected: 0, answer: 0 }
    task.expired = model.tick()
    await real.direct.expire(task.id, task.expired)
    return { expected: 0, answer: 0 }
  }
  words = () => `expiryComes(${this.id})`
}

/** Each task in one place, and all that there is on either side the same. */
async function compare(model: Model, real: Real, after: string): Promise<void> {
  const content = await dump(real.direct.redis, real.queue)
  deepStrictEqual(contradictionsOf(content), [], `${after}: what contradicts the layout`)
  const whole = sorted(content)
  const { tasks, payloads, unique, ready } = whole
  deepStrictEqual(bytesRecorded(content) ?? 0, bytesHeld(whole), `${after}: the bytes that tasks hold`)
  const isThere = Object.fromEntries(
    [...tasks].map(([id, fields]) => [
      id,
      {
        state: fields.state,
        retries: Number(fields.retries),
        crashes: Number(fields.crashes),
        releases: Number(fields.releases),
        attempt: Number.parseInt(fields.lease ?? "0", 10),
        lease: fields.lease ?? "",
        reason: fields.reason,
        cancel: fields.cancel !== undefined,
        checkpoint: fields.checkpoint ?? "",
        payload: fields.payload ?? payloads.get(id),
        result: fields.result,
      },
    ]),
  )
  const shouldBe = Object.fromEntries(
    [...model.tasks].map(([id, task]) => {
      const {
        state,
        retries,
        crashes,
        releases,
        attempt,
        lease,
        reason,
        cancel,
        checkpoint,
        payload,
        result,
      } = task
      return [
        id,
        { state, retries, crashes, releases, attempt, lease, reason, cancel, checkpoint, payload, result },
      ]
    }),
  )
  deepStrictEqual(isThere, shouldBe, `${after}: the tasks`)
  const owners = [...model.tasks.values()].filter(task => task.unique !== "" && !ended(task))
  deepStrictEqual(
    Object.fromEntries([...unique].sort()),
    Object.fromEntries(owners.map(({ unique: key, id }) => [key, id] as const).sort()),
    `${after}: the unique keys`,
  )
  const lists = [...model.ready].filter(([, list]) => list.length > 0)
  deepStrictEqual(
    Object.fromEntries(ready),
    Object.fromEntries(lists),
    `${after}: the ready lists, the oldest first`,
  )
}

const lost = fc.boolean()
const seldom = fc.integer({ min: 0, max: 2 }).map(n => n === 2)
const nth = fc.nat({ max: 5 })
const rareOnes: fc.Arbitrary<Asked> = fc
  .record({
    id: fc.constantFrom("", "", "a", "b"),
    later: seldom,
    payload: fc.constantFrom("{}", '"another"', JSON.stringify("large".repeat(60))),
    priority: fc.constantFrom(5, 5, 9, 0),
    maxRetries: fc.nat({ max: 2 }),
    maxCrashes: fc.nat({ max: 2 }),
    backoff: fc.constantFrom("", "", "fixed", "exponential"),
    limited: seldom,
    expiring: seldom,
    key: fc.constantFrom("", "", "", "k1", "k2"),
    print: fc.constantFrom("p", "p", "q"),
    unique: fc.constantFrom("", "u", "u", "v"),
    replace: fc.boolean(),
  })
  .map(drawn => drawn as Asked)
const plainOnes = rareOnes.map(drawn => ({
  ...drawn,
  ...{ later: false, expiring: false, key: "", unique: "" },
}))
const asked = fc.oneof(plainOnes, rareOnes)
const right = fc.constantFrom<Which>("right", "right", "right", "stale", "none")
const outcome = fc.constantFrom(
  "done" as const,
  "done" as const,
  "failed" as const,
  "failed" as const,
  "released" as const,
)
const retry = fc.constantFrom("" as const, "" as const, "no" as const, "0" as const, "1000000" as const)

const end: fc.Arbitrary<End> = fc.record({
  ...{ nth, which: right, outcome, retry },
  text: fc.constantFrom('"said"', '"said"', ""),
})

const commands = [
  fc.tuple(asked, lost).map(([one, lost]) => new Submit([one], lost)),
  fc.tuple(fc.array(asked, { minLength: 1, maxLength: 3 }), lost).map(([all, lost]) => new Submit(all, lost)),
  fc.tuple(fc.integer({ min: 1, max: 4 }), seldom).map(([count, lost]) => new Lease(count, lost)),
  fc.tuple(end, lost).map(([one, lost]) => new Settle([one], lost)),
  fc.tuple(fc.array(end, { minLength: 1, maxLength: 4 }), lost).map(([all, lost]) => new Settle(all, lost)),
  fc
    .tuple(nth, fc.constantFrom("right" as const, "stale" as const), fc.constantFrom("", "1", "2"), lost)
    .map(args => new Extend(...args)),
  fc.tuple(nth, lost).map(args => new Cancel(...args)),
  fc.tuple(nth, lost).map(args => new Redrive(...args)),
  fc.tuple(nth, lost).map(args => new Discard(...args)),
  fc
    .tuple(fc.constantFrom("5", "9", "due", "done", "dead", "cancelled"), lost)
    .map(args => new Purge(...args)),
  fc.tuple(seldom, lost).map(args => new Pause(...args)),
  seldom.map(lost => new Sweep(lost)),
  nth.map(n => new Pass(n, false)),
  nth.map(n => new Pass(n, false)),
  nth.map(n => new Overrun(n, false)),
  nth.map(n => new Expire(n, false)),
]

export interface ModelRun {
  runs: number
  seed?: number | undefined
  patch?: Patch | undefined
  /** "throw" with the shrunk sequence, or "tell" it in the details. */
  onFailure?: "throw" | "tell"
}

/** Runs the check on a Redis of its own. A failure names the seed and path that repeat it. */
export async function checkModel({ runs, seed, patch, onFailure = "throw" }: ModelRun) {
  await using server = await testRedis()
  const control = new Redis(server.socket)
  let lives = 0
  const property = fc.asyncProperty(fc.commands(commands, { maxCommands: 60, size: "max" }), async steps => {
    const run = (redis: Redis) => (patch ? patching(onOneConnection(redis), patch) : onOneConnection(redis))
    await using direct = new DirectQueue(server.socket, `m${++lives}`, run, LIMITS)
    await fc.asyncModelRun(() => ({ model: new Model(), real: new Real(direct, direct.name) }), steps)
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
