/**
 * The spans of a task's life, by OpenTelemetry's conventions for messaging, and how they get to a collector.
 *   - send      in the broker, around a submit. A task whose caller sent no `traceparent` gets this span's.
 *   - receive   in the broker, for each answer that hands tasks out.
 *   - process   in the worker, around the handler.
 *   - settle    in the worker, around the request that carries acks, and in the broker, around what it does.
 * What is about one task is a child of that task's context; what is about several has a trace of its own and links
 * to theirs. Spans wait for their collector in a queue of bounded length, and no task ever waits for them.
 */
import {
  type Attributes,
  type Context,
  context,
  createTraceState,
  DiagLogLevel,
  diag,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api"
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks"
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http"
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
  serviceInstanceIdDetector,
} from "@opentelemetry/resources"
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace"
import type { SAMPLERS } from "../config/config.ts"
import { type Each, Refused } from "../errors.ts"
import type { Outcome } from "../handlers.ts"
import { type Log, rateLimited } from "../log.ts"
import { pause } from "../pause.ts"
import { queueOf } from "../task/id.ts"
import type { Leased, NewTask, Submitted } from "../task/task.ts"
import { TRACEPARENT } from "../wire/traceparent.ts"
import type { LeasedTask } from "../wire/working.ts"

const SYSTEM = "task_queue"
/** At some 2 KB each: 8 MB. */
const MAX_BUFFERED_SPANS = 4_096
const SPANS_PER_REQUEST = 512
const EXPORT_INTERVAL_MS = 1_000
/** Names and errors are others' text. */
const MAX_VALUE_LENGTH = 1_024
const MAX_LINKS = 128
/** How long the last spans have at the end. */
const FLUSH_MS = 2_000

export interface SpanOptions {
  endpoint: string
  part: "broker" | "worker"
  serviceName: string | undefined
  sampler: (typeof SAMPLERS)[number]
  /** Of the `traceidratio` samplers. */
  ratio: number
}

/** What a span is about. */
interface SpanSubject {
  operation: "send" | "receive" | "process" | "settle"
  kind: SpanKind
  queues: readonly string[]
  /** The task, where it is one. */
  id?: string | undefined
  /** How many tasks it is about. */
  count: number
  worker?: string | undefined
}

export class Spans {
  readonly #tracer: Tracer
  /** The context of each handler's span, for the ack that comes after. */
  readonly #processed = new WeakMap<LeasedTask, SpanContext>()

  static start({ endpoint, part, serviceName, sampler, ratio }: SpanOptions, log: Log): Spans {
    // What the exporter has to say of its own variables, and of spans that found no room.
    const diagnostics = rateLimited(log, 1)
    const warn = (message: string) => diagnostics.warn("Traces", { note: message })
    diag.setLogger(
      { error() {}, warn, info() {}, debug() {}, verbose() {} },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    )
    const url = `${endpoint.replace(/\/+$/, "")}/v1/traces`
    const provider = new TracerProvider({
      // The last one that names something wins.
      resource: defaultResource()
        .merge(serviceNamed(`task-queue-${part}`))
        .merge(detectResources({ detectors: [serviceInstanceIdDetector, resourceAttributesEnvDetector] }))
        .merge(serviceName === undefined ? null : serviceNamed(serviceName)),
      sampler: samplerOf(sampler, ratio),
      spanLimits: { attributeValueLengthLimit: MAX_VALUE_LENGTH, linkCountLimit: MAX_LINKS },
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new OutageLoggingExporter(new OTLPTraceExporter({ url }), url, log),
          maxQueueSize: MAX_BUFFERED_SPANS,
          maxExportBatchSize: SPANS_PER_REQUEST,
          scheduledDelayMillis: EXPORT_INTERVAL_MS,
        }),
      ],
    })
    // A handler's own instrumentation finds the span that it runs in; a broker runs nobody else's code.
    const global = part === "worker"
    if (global) {
      // Where the handlers' module has set up its own, that stands.
      const manager = new AsyncLocalStorageContextManager()
      if (!context.setGlobalContextManager(manager.enable())) manager.disable()
      trace.setGlobalTracerProvider(provider)
    }
    log.info("Traces are sent", { to: withoutSecrets(url) })
    return new Spans(provider, global)
  }

  private constructor(
    private readonly provider: TracerProvider,
    private readonly global: boolean,
  ) {
    this.#tracer = provider.getTracer("task-queue")
  }

  /** A submit. Tasks that have no context get this span's, so that what becomes of them is joined to it. */
  async traceSubmit(
    headers: Headers,
    tasks: NewTask[],
    run: () => Promise<Each<Submitted>[]>,
  ): Promise<Each<Submitted>[]> {
    if (tasks.length === 0) return run()
    const caller = contextFromHeaders(headers)
    const contexts = tasks.map(({ traceparent }) => parseContext(traceparent))
    // Those that the header names, all have.
    const linked =
      caller === undefined ? contexts : contexts.map(its => (isSameSpan(its, caller) ? undefined : its))
    const queues = tasks.map(({ queue }) => queue)
    const span = this.#begin(
      { operation: "send", kind: SpanKind.PRODUCER, queues, count: tasks.length },
      linked,
      caller,
    )
    const own = traceparentOf(span.spanContext())
    for (const task of tasks)
      if (task.traceparent === undefined)
        task.extra = `${task.extra ? `${task.extra},` : ""}"traceparent":"${own}"`
    const answers = await recordFailures(span, run, answers => answers)
    const [only] = answers
    if (answers.length === 1 && !(only instanceof Refused))
      span.setAttribute("messaging.message.id", only!.id)
    span.end()
    return answers
  }

  /** Tasks were handed out to one who has asked since `askedAt`, or from when the first of them was there. */
  recordLeases(tasks: readonly Leased[], worker: string, askedAt: number): void {
    const [first] = tasks
    if (first === undefined) return
    const now = Date.now()
    const startTime = Math.max(askedAt, now - Math.max(...tasks.map(({ waitedMs }) => waitedMs)))
    const queues = tasks.map(({ queue }) => queue)
    const about = { operation: "receive", kind: SpanKind.CLIENT, queues, count: tasks.length } as const
    const contexts = tasks.map(({ extra }) => (extra === undefined ? undefined : contextFromMembers(extra)))
    this.#begin({ ...about, id: first.id, worker }, contexts, undefined, startTime).end(now)
  }

  /** What the broker does for acks. Who sends them names their trace in a header. */
  async traceSettle<T>(
    headers: Headers,
    acks: readonly { id: string }[],
    worker: string,
    run: () => Promise<T>,
    answersOf: (result: T) => readonly Each<unknown>[],
  ): Promise<T> {
    const [first] = acks
    if (first === undefined) return run()
    const queues = acks.map(({ id }) => queueOf(id))
    const about = { operation: "settle", kind: SpanKind.SERVER, queues, count: acks.length } as const
    const span = this.#begin({ ...about, id: first.id, worker }, [], contextFromHeaders(headers))
    const result = await recordFailures(span, run, answersOf)
    span.end()
    return result
  }

  /** The request of a worker that carries the acks of these tasks. */
  async traceAckRequest<T>(
    tasks: readonly LeasedTask[],
    worker: string,
    run: (traceparent: string | undefined) => Promise<T>,
  ): Promise<T> {
    const [first] = tasks
    if (first === undefined) return run(undefined)
    const queues = tasks.map(({ queue }) => queue)
    const about = { operation: "settle", kind: SpanKind.CLIENT, queues, count: tasks.length } as const
    const contexts = tasks.map(task => this.#processed.get(task) ?? parseContext(task.traceparent))
    const span = this.#begin({ ...about, id: first.id, worker }, contexts)
    try {
      return await run(traceparentOf(span.spanContext()))
    } catch (error) {
      markFailed(span, error)
      throw error
    } finally {
      span.end()
    }
  }

  /** A handler's run. `run` gets the context that its own calls are to carry, and never rejects. */
  async traceHandler(
    task: LeasedTask,
    worker: string,
    signal: AbortSignal,
    run: (traceparent: string) => Promise<Outcome>,
  ): Promise<Outcome> {
    const about = { operation: "process", kind: SpanKind.CONSUMER, queues: [task.queue], count: 1 } as const
    const parent = parseContext(task.traceparent, task.tracestate)
    const span = this.#begin({ ...about, id: task.id, worker }, [parent])
    span.setAttributes({ "tq.task.type": task.type, "tq.task.attempt": task.attempt })
    this.#processed.set(task, span.spanContext())
    const outcome = await context.with(trace.setSpan(context.active(), span), () =>
      run(traceparentOf(span.spanContext())),
    )
    const { status = "done", error = "" } = outcome
    // Whatever it gave back, it counts for nothing.
    const letGo = signal.aborted ? String((signal.reason as Error).name) : undefined
    span.setAttribute("tq.task.outcome", letGo ?? status)
    if (status === "failed" || letGo !== undefined) {
      span.setAttribute("error.type", letGo ?? /^[\w.]{1,64}(?=:)/.exec(error)?.[0] ?? "failed")
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.slice(0, MAX_VALUE_LENGTH) })
    }
    span.end()
    return outcome
  }

  /** Sends what waits, for as long as that may take. */
  async close(): Promise<void> {
    const over = new AbortController()
    await Promise.race([this.provider.shutdown().catch(() => {}), pause(FLUSH_MS, over.signal)])
    over.abort()
    if (!this.global) return
    trace.disable()
    context.disable()
  }

  /** Of one task: a child of its context. Of several: the child of `parent`, if there is one, with links to theirs. */
  #begin(
    { operation, kind, queues, id, count, worker }: SpanSubject,
    contexts: readonly (SpanContext | undefined)[],
    parent = count === 1 ? contexts[0] : undefined,
    startTime?: number,
  ): Span {
    const queue = queues.every(name => name === queues[0]) ? queues[0] : undefined
    const attributes: Attributes = {
      "messaging.system": SYSTEM,
      "messaging.operation.name": operation,
      "messaging.operation.type": operation,
    }
    if (queue !== undefined) attributes["messaging.destination.name"] = queue
    if (count > 1) attributes["messaging.batch.message_count"] = count
    else if (id !== undefined) attributes["messaging.message.id"] = id
    if (worker) attributes["messaging.client.id"] = worker
    const links = contexts
      .filter(its => its !== undefined && its !== parent)
      .slice(0, MAX_LINKS)
      .map(its => ({ context: its! }))
    return this.#tracer.startSpan(
      queue === undefined ? operation : `${operation} ${queue}`,
      { kind, attributes, links, ...(startTime === undefined ? {} : { startTime }) },
      contextOf(parent),
    )
  }
}

/** Tells once that a collector is away, and once that it is back; the rest of the SDK hears that all went well. */
class OutageLoggingExporter implements SpanExporter {
  #lost = 0

  constructor(
    private readonly inner: SpanExporter,
    private readonly url: string,
    private readonly log: Log,
  ) {}

  export(spans: ReadableSpan[], done: Parameters<SpanExporter["export"]>[1]): void {
    this.inner.export(spans, ({ code, error }) => {
      const to = withoutSecrets(this.url)
      if (code !== 0) {
        if (this.#lost === 0) this.log.warn("Traces cannot be sent", { to, error: error?.message })
        this.#lost += spans.length
      } else if (this.#lost > 0) {
        this.log.info("Traces are sent again", { to, lost: this.#lost })
        this.#lost = 0
      }
      done({ code: 0 })
    })
  }

  async forceFlush(): Promise<void> {
    await this.inner.forceFlush?.()
  }

  shutdown(): Promise<void> {
    return this.inner.shutdown()
  }
}

function samplerOf(name: SpanOptions["sampler"], ratio: number): Sampler {
  const root = name.endsWith("always_off")
    ? new AlwaysOffSampler()
    : name.endsWith("traceidratio")
      ? new TraceIdRatioBasedSampler(ratio)
      : new AlwaysOnSampler()
  return name.startsWith("parentbased_") ? new ParentBasedSampler({ root }) : root
}

const serviceNamed = (name: string) => resourceFromAttributes({ "service.name": name })

const contextOf = (parent: SpanContext | undefined): Context =>
  parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent)

/** undefined where it is no context, as one of zeros. */
function parseContext(
  traceparent: string | null | undefined,
  tracestate?: string | null,
): SpanContext | undefined {
  if (!traceparent || !TRACEPARENT.test(traceparent)) return undefined
  const [, traceId, spanId, flags] = traceparent.split("-") as [string, string, string, string]
  const found: SpanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
  if (tracestate) found.traceState = createTraceState(tracestate)
  return isSpanContextValid(found) ? found : undefined
}

const contextFromHeaders = (headers: Headers): SpanContext | undefined =>
  parseContext(headers.get("traceparent"), headers.get("tracestate"))

/** Of a task's further members: not that of a label with the same name. */
function contextFromMembers(extra: string): SpanContext | undefined {
  if (!extra.includes('"traceparent"')) return undefined
  try {
    const { traceparent, tracestate } = JSON.parse(`{${extra}}`)
    return parseContext(traceparent, tracestate)
  } catch {
    return undefined // spoilt in Redis: that is no reason to hand nothing out
  }
}

const isSameSpan = (a: SpanContext | undefined, b: SpanContext): boolean =>
  a?.traceId === b.traceId && a.spanId === b.spanId

const traceparentOf = ({ traceId, spanId, traceFlags }: SpanContext): string =>
  `00-${traceId}-${spanId}-${(traceFlags & 1) === 1 ? "01" : "00"}`

/** Ends the span where it throws. */
async function recordFailures<T>(
  span: Span,
  run: () => Promise<T>,
  answersOf: (result: T) => readonly Each<unknown>[],
): Promise<T> {
  try {
    const result = await run()
    const refused = answersOf(result).find(answer => answer instanceof Refused)
    if (refused !== undefined) markFailed(span, refused)
    return result
  } catch (error) {
    markFailed(span, error)
    span.end()
    throw error
  }
}

function markFailed(span: Span, error: unknown): void {
  const type = error instanceof Refused ? error.reason : error instanceof Error ? error.name : "error"
  span.setAttribute("error.type", type)
  span.setStatus({ code: SpanStatusCode.ERROR })
}

/** An address may name a user and a password. */
function withoutSecrets(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}
