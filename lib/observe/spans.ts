/**
 * The spans of a task, by OpenTelemetry's conventions for messaging, and their export to a collector.
 *   - send      in the broker, around a submit. A task without a `traceparent` gets the one of this span.
 *   - receive   in the broker, for each answer that hands out tasks.
 *   - process   in the worker, around the handler.
 *   - settle    in the worker, around a request that carries acks, and in the broker, around the acks.
 * A span about one task is a child of that task's context. A span about several tasks is a child of the request's
 * context, or starts a trace of its own, and links to the tasks. Spans wait for the collector in a bounded queue; tasks
 * never wait for them.
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
import { version } from "../../package.json" with { type: "json" }
import type { SAMPLERS } from "../config/traces.ts"
import { type Each, Refused } from "../errors.ts"
import { type Log, rateLimited } from "../log.ts"
import { pause } from "../pause.ts"
import { queueOf } from "../task/id.ts"
import type { Leased, NewTask, Submitted } from "../task/task.ts"
import { TRACEPARENT } from "../wire/traceparent.ts"
import type { Ack, LeasedTask } from "../wire/working.ts"

const SYSTEM = "task_queue"
/** The version of the conventions for messaging that the spans follow. */
const CONVENTIONS = "https://opentelemetry.io/schemas/1.45.0"
/** A span takes about 2 KB, so together 8 MB. */
const MAX_BUFFERED_SPANS = 4_096
const SPANS_PER_REQUEST = 512
const EXPORT_INTERVAL_MS = 1_000
/** Names and errors come from clients and can be long. */
const MAX_VALUE_LENGTH = 1_024
const MAX_LINKS = 128
/** How long sending the last spans may take at exit. */
const FLUSH_MS = 2_000

/** The broker that a span is about. The port is undefined if the system chooses it. */
export interface BrokerPlace {
  address: string
  port: number | undefined
}

interface SpanOptions {
  /** Where spans are sent. */
  url: string
  part: "broker" | "worker"
  broker: BrokerPlace
  serviceName: string | undefined
  sampler: (typeof SAMPLERS)[number]
  /** For the `traceidratio` samplers. */
  ratio: number
}

/** The facts that become a span's name and attributes. */
interface SpanSubject {
  operation: "send" | "receive" | "process" | "settle"
  kind: SpanKind
  queues: readonly string[]
  /** The first task. It is recorded only if there is no other. */
  id?: string | undefined
  /** The number of tasks. */
  count: number
  worker?: string | undefined
}

export class Spans {
  readonly #tracer: Tracer
  /** The attributes of every span. */
  readonly #common: Attributes
  /** The context of each handler's span, to which the span of its ack belongs. */
  readonly #processed = new WeakMap<LeasedTask, SpanContext>()

  static start({ url, part, broker, serviceName, sampler, ratio }: SpanOptions, log: Log): Spans {
    // The SDK warns about invalid variables of its own, and about spans that it dropped.
    const diagnostics = rateLimited(log)
    const warn = (message: string) => diagnostics.warn("OpenTelemetry reports a fault", { note: message })
    diag.setLogger(
      { error() {}, warn, info() {}, debug() {}, verbose() {} },
      { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
    )
    const provider = new TracerProvider({
      // Later entries override earlier ones.
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
    // In a worker the span is made available to the instrumentation of handlers. A broker runs no code of users.
    const global = part === "worker"
    if (global) {
      // If the handlers' module has registered its own manager, keep it.
      const manager = new AsyncLocalStorageContextManager()
      if (!context.setGlobalContextManager(manager.enable())) manager.disable()
      trace.setGlobalTracerProvider(provider)
    }
    log.info("Spans are sent", { to: withoutSecrets(url) })
    return new Spans(provider, global, broker)
  }

  private constructor(
    private readonly provider: TracerProvider,
    private readonly global: boolean,
    { address, port }: BrokerPlace,
  ) {
    this.#tracer = provider.getTracer("task-queue", version, { schemaUrl: CONVENTIONS })
    this.#common = {
      "messaging.system": SYSTEM,
      "server.address": address,
      ...(port !== undefined && { "server.port": port }),
    }
  }

  /** Traces a submit. Tasks without a context get the one of this span, so that their later spans belong to it. */
  async traceSubmit(
    headers: Headers,
    tasks: NewTask[],
    run: () => Promise<Each<Submitted>[]>,
  ): Promise<Each<Submitted>[]> {
    if (tasks.length === 0) return run()
    const caller = contextFromHeaders(headers)
    const contexts = tasks.map(({ traceparent }) => parseContext(traceparent))
    // Tasks with the context of the request need no link: it is the parent.
    const linked =
      caller === undefined
        ? contexts
        : contexts.map(context => (isSameSpan(context, caller) ? undefined : context))
    const queues = tasks.map(({ queue }) => queue)
    const span = this.#startSpan(
      { operation: "send", kind: SpanKind.PRODUCER, queues, count: tasks.length },
      linked,
      caller,
    )
    const own = traceparentOf(span.spanContext())
    for (const task of tasks)
      if (task.traceparent === undefined)
        task.memberJson = `${task.memberJson ? `${task.memberJson},` : ""}"traceparent":"${own}"`
    const answers = await recordFailures(span, run, answers => answers)
    const [only] = answers
    if (answers.length === 1 && !(only instanceof Refused))
      span.setAttribute("messaging.message.id", only!.id)
    span.end()
    return answers
  }

  /** Records that tasks were leased. The span starts at `pollStartedAt`, or when the first of them became ready. */
  recordLeases(tasks: readonly Leased[], worker: string, pollStartedAt: number): void {
    const [first] = tasks
    if (first === undefined) return
    const now = Date.now()
    const startTime = Math.max(pollStartedAt, now - Math.max(...tasks.map(({ waitedMs }) => waitedMs)))
    const queues = tasks.map(({ queue }) => queue)
    const subject = { operation: "receive", kind: SpanKind.CLIENT, queues, count: tasks.length } as const
    const contexts = tasks.map(({ memberJson }) =>
      memberJson === undefined ? undefined : contextFromMembers(memberJson),
    )
    this.#startSpan({ ...subject, id: first.id, worker }, contexts, undefined, startTime).end(now)
  }

  /** Traces acks in the broker. The worker sends the parent context in a header. */
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
    const subject = { operation: "settle", kind: SpanKind.SERVER, queues, count: acks.length } as const
    const span = this.#startSpan({ ...subject, id: first.id, worker }, [], contextFromHeaders(headers))
    const result = await recordFailures(span, run, answersOf)
    span.end()
    return result
  }

  /** Traces a worker's request that carries the acks of these tasks. */
  async traceAckRequest<T>(
    tasks: readonly LeasedTask[],
    worker: string,
    run: (traceparent: string | undefined) => Promise<T>,
  ): Promise<T> {
    const [first] = tasks
    if (first === undefined) return run(undefined)
    const queues = tasks.map(({ queue }) => queue)
    const subject = { operation: "settle", kind: SpanKind.CLIENT, queues, count: tasks.length } as const
    const contexts = tasks.map(task => this.#processed.get(task) ?? parseContext(task.traceparent))
    const span = this.#startSpan({ ...subject, id: first.id, worker }, contexts)
    try {
      return await run(traceparentOf(span.spanContext()))
    } catch (error) {
      markFailed(span, error)
      throw error
    } finally {
      span.end()
    }
  }

  /** Traces a handler. `run` gets the context for the handler's own calls. It must not reject. */
  async traceHandler<Outcome extends Pick<Ack, "status" | "error">>(
    task: LeasedTask,
    worker: string,
    signal: AbortSignal,
    run: (traceparent: string) => Promise<Outcome>,
  ): Promise<Outcome> {
    const subject = { operation: "process", kind: SpanKind.CONSUMER, queues: [task.queue], count: 1 } as const
    const parent = parseContext(task.traceparent, task.tracestate)
    const span = this.#startSpan({ ...subject, id: task.id, worker }, [parent])
    span.setAttributes({ "tq.task.type": task.type, "tq.task.attempt": task.attempt })
    this.#processed.set(task, span.spanContext())
    const outcome = await context.with(trace.setSpan(context.active(), span), () =>
      run(traceparentOf(span.spanContext())),
    )
    const { status = "done", error = "" } = outcome
    // The outcome of an aborted handler is ignored.
    const abortReason = signal.aborted ? String((signal.reason as Error).name) : undefined
    span.setAttribute("tq.task.outcome", abortReason ?? status)
    if (status === "failed" || abortReason !== undefined) {
      const shown = task.redact ? "" : error
      span.setAttribute("error.type", abortReason ?? /^[\w.]{1,64}(?=:)/.exec(shown)?.[0] ?? "failed")
      span.setStatus({ code: SpanStatusCode.ERROR, message: shown.slice(0, MAX_VALUE_LENGTH) })
    }
    span.end()
    return outcome
  }

  /** Sends the buffered spans, for at most FLUSH_MS. */
  async close(): Promise<void> {
    const sent = new AbortController()
    await Promise.race([this.provider.shutdown().catch(() => {}), pause(FLUSH_MS, sent.signal)])
    sent.abort()
    if (!this.global) return
    trace.disable()
    context.disable()
  }

  /** A span about one task is a child of its context. Otherwise `parent` is the parent, if any, and the tasks are linked. */
  #startSpan(
    { operation, kind, queues, id, count, worker }: SpanSubject,
    contexts: readonly (SpanContext | undefined)[],
    parent = count === 1 ? contexts[0] : undefined,
    startTime?: number,
  ): Span {
    const queue = queues.every(name => name === queues[0]) ? queues[0] : undefined
    const attributes: Attributes = {
      ...this.#common,
      "messaging.operation.name": operation,
      "messaging.operation.type": operation,
    }
    if (queue !== undefined) attributes["messaging.destination.name"] = queue
    if (count > 1) attributes["messaging.batch.message_count"] = count
    else if (id !== undefined) attributes["messaging.message.id"] = id
    if (worker) attributes["messaging.client.id"] = worker
    const links = contexts
      .filter(context => context !== undefined && context !== parent)
      .slice(0, MAX_LINKS)
      .map(context => ({ context: context! }))
    return this.#tracer.startSpan(
      queue === undefined ? operation : `${operation} ${queue}`,
      { kind, attributes, links, ...(startTime === undefined ? {} : { startTime }) },
      contextOf(parent),
    )
  }
}

/** Logs once when the collector cannot be reached, and once when it is back. It reports success to the SDK either way. */
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
        if (this.#lost === 0) this.log.warn("Spans cannot be sent", { to, error: error?.message })
        this.#lost += spans.length
      } else if (this.#lost > 0) {
        this.log.info("Spans can be sent again", { to, lost: this.#lost })
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

/** Returns undefined if it is not a valid context, for example one of zeros. */
function parseContext(
  traceparent: string | null | undefined,
  tracestate?: string | null,
): SpanContext | undefined {
  if (!traceparent || !TRACEPARENT.test(traceparent)) return undefined
  const [, traceId, spanId, flags] = traceparent.split("-") as [string, string, string, string]
  const parsed: SpanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
  if (tracestate) parsed.traceState = createTraceState(tracestate)
  return isSpanContextValid(parsed) ? parsed : undefined
}

const contextFromHeaders = (headers: Headers): SpanContext | undefined =>
  parseContext(headers.get("traceparent"), headers.get("tracestate"))

/** Reads the context from a task's further members, but not from a label with the same name. */
function contextFromMembers(extra: string): SpanContext | undefined {
  if (!extra.includes('"traceparent"')) return undefined
  try {
    const { traceparent, tracestate } = JSON.parse(`{${extra}}`)
    return parseContext(traceparent, tracestate)
  } catch {
    return undefined // damaged in Redis: the task must still be handed out
  }
}

const isSameSpan = (a: SpanContext | undefined, b: SpanContext): boolean =>
  a?.traceId === b.traceId && a.spanId === b.spanId

const traceparentOf = ({ traceId, spanId, traceFlags }: SpanContext): string =>
  `00-${traceId}-${spanId}-${(traceFlags & 1) === 1 ? "01" : "00"}`

/** Marks the span as failed if an item was refused. If `run` throws, it also ends the span. */
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

/** The URL without user name, password and query. */
function withoutSecrets(url: string): string {
  const { origin, pathname } = new URL(url)
  return origin + pathname
}
