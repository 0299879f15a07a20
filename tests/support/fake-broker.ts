/** A broker on its own port whose answers a test can script. By default it leases its tasks and accepts every ack. */
import { Client } from "../../lib/client.ts"
import { BUILT_IN, type Handler } from "../../lib/handlers.ts"
import { createLog } from "../../lib/log.ts"
import type { Ack, Extend, LeasedTask, Work } from "../../lib/wire/working.ts"
import { type RunnerOptions, TaskRunner } from "../../lib/worker/task-runner.ts"

/** A complete response, the answers to the items, or undefined for the default answer. */
type Answer = Response | unknown[] | undefined
type Script = (body: never, request: Request) => Answer | Promise<Answer>

export const problem = (status: number, code: string, headers = {}): Response =>
  Response.json({ error: code, code, status, title: code }, { status, headers })

export class FakeBroker implements AsyncDisposable {
  /** All requests to /work that were answered or are waiting, and those among them that ask for tasks. */
  readonly works: Work[] = []
  readonly polls: Work[] = []
  /** The answered acks, in order. */
  readonly acks: Ack[] = []
  readonly ackBatches: Ack[][] = []
  readonly extendBatches: Extend[][] = []
  readonly tokens: (string | null)[] = []
  pollsUnderWay = 0
  mostPollsAtOnce = 0
  pollsAborted = 0
  readonly lines: string[] = []
  readonly #waiting: LeasedTask[] = []
  #script: Record<string, Script> = {}
  #server = this.#serve(0)
  #changed = Promise.withResolvers<void>()
  readonly #workers: TaskRunner[] = []
  #ids = 0

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }
  #port = this.#server.port!

  /** `settle` and `extend` get that part of a /work request; `fetch` gets the whole body of one that asks for tasks. */
  on(what: "settle" | "extend" | "fetch" | "/ack" | "/lease" | "/work", script: Script): void {
    this.#script[what] = script
  }

  /** Members of every further answer: the ids of cancelled tasks, and whether the worker should drain. */
  readonly says = { cancelled: [] as string[], drain: false }

  task(task: Partial<LeasedTask> = {}): LeasedTask {
    const id = `task-${++this.#ids}`
    const lease = `1.${id.padEnd(22, "_")}`
    const { timeout_ms = 30_000 } = task
    const rest = { status: "processing", queue: "default", attempt: 1, retries: 0, max_retries: 3 } as const
    const whole = { id, type: "echo", payload: {}, lease, ...rest, timeout_ms, lease_expires_at: 0, ...task }
    this.#waiting.push(whole)
    this.#change()
    return whole
  }

  worker(handlers: Record<string, Handler> = {}, options: Partial<RunnerOptions> = {}): TaskRunner {
    const worker = new TaskRunner({
      client: new Client({ url: this.url, token: "secret", timeoutMs: 2_000 }),
      handlers: new Map(Object.entries({ ...BUILT_IN, ...handlers })),
      log: createLog("debug", line => this.lines.push(line), false),
      name: "tester",
      queues: ["default"],
      concurrency: 4,
      drainMs: 2_000,
      graceMs: 50,
      ackMs: 500,
      waitMs: 5_000,
      delays: { firstMs: 5, capMs: 20 },
      ...options,
    })
    this.#workers.push(worker)
    return worker
  }

  /** Waits until the condition holds. After 30 s it throws, with the worker's log. */
  async until(holds: () => boolean, what = holds.toString()): Promise<void> {
    const end = performance.now() + 30_000
    while (!holds()) {
      if (performance.now() > end)
        throw new Error(`This did not become true within 30 s: ${what}\n${this.lines.join("\n")}`)
      await Bun.sleep(2)
    }
  }

  async stop(): Promise<void> {
    await this.#server.stop(true)
  }

  start(): void {
    this.#server = this.#serve(this.#port)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#script = {}
    await Promise.all(this.#workers.map(worker => worker.stop()))
    await this.stop()
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers<void>()
  }

  #serve(port: number) {
    return Bun.serve({
      hostname: "127.0.0.1",
      port,
      idleTimeout: 30,
      fetch: request => this.#answer(request),
    })
  }

  async #answer(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname
    this.tokens.push(request.headers.get("X-API-Token"))
    const body = JSON.parse(await request.text())
    const scripted = await this.#script[path]?.(body as never, request)
    if (scripted instanceof Response) return scripted
    if (path === "/lease") return this.#fetch(body, request).then(tasks => Response.json({ tasks }))
    if (path === "/ack") return Response.json({ status: "acknowledged", task_id: body.task_id })
    return this.#work(body, request)
  }

  async #work(body: Work, request: Request): Promise<Response> {
    const { settle = [], extend = [], max = 0 } = body
    const scripted = {
      extended: extend.length > 0 && (await this.#script.extend?.(extend as never, request)),
      settled: settle.length > 0 && (await this.#script.settle?.(settle as never, request)),
      tasks: max > 0 && (await this.#script.fetch?.(body as never, request)),
    }
    for (const part of Object.values(scripted)) if (part instanceof Response) return part
    this.works.push(body)
    if (extend.length > 0) this.extendBatches.push(extend)
    if (settle.length > 0) {
      this.ackBatches.push(settle)
      this.acks.push(...settle)
    }
    const usual = {
      extended: extend.map(({ task_id }) => ({ status: "ok", task_id, lease_expires_at: 0 })),
      settled: settle.map(({ task_id }) => ({ status: "acknowledged", task_id })),
    }
    return Response.json({
      tasks: max > 0 ? await this.#fetch(body, request) : [],
      extended: scripted.extended || usual.extended,
      settled: scripted.settled || usual.settled,
      lost: [],
      ...this.says,
    })
  }

  async #fetch(body: Work, request: Request): Promise<LeasedTask[]> {
    this.polls.push(body)
    const waits = !body.settle?.length && !body.extend?.length
    if (waits) this.mostPollsAtOnce = Math.max(this.mostPollsAtOnce, ++this.pollsUnderWay)
    const gone = new Promise(resolve => request.signal.addEventListener("abort", resolve))
    const end = performance.now() + (waits ? (body.wait_ms ?? 0) : 0)
    const ready = () => this.#waiting.length > 0 || this.says.drain
    while (!ready() && !request.signal.aborted && performance.now() < end)
      await Promise.race([this.#changed.promise, gone, Bun.sleep(end - performance.now())])
    if (waits) this.pollsUnderWay--
    if (request.signal.aborted) this.pollsAborted++
    return request.signal.aborted ? [] : this.#waiting.splice(0, body.max ?? 1)
  }
}
