import { describe, expect, test } from "bun:test"
import { join } from "node:path"
import { trace } from "@opentelemetry/api"
import { startBroker } from "../../broker.ts"
import { Client } from "../../lib/client.ts"
import { readBrokerConfig, readWorkerConfig, type WorkerConfig } from "../../lib/config/config.ts"
import { ConfigError } from "../../lib/config/reader.ts"
import { type Handler, loadHandlers } from "../../lib/handlers.ts"
import { createLog, type Fields, type Log } from "../../lib/log.ts"
import { startSpans } from "../../lib/observe/tracing.ts"
import type { Leased } from "../../lib/task/task.ts"
import type { LeaseAnswer } from "../../lib/wire/working.ts"
import type { WorkerOptions } from "../../lib/worker/task-worker.ts"
import { createWorker } from "../../worker.ts"
import { Collector, KIND } from "../support/collector.ts"
import { freshName, TOKEN, testConfig, until } from "../support/harness.ts"
import {
  directory,
  Process,
  ROOT,
  startBroker as startBrokerProcess,
  startWorker,
} from "../support/processes.ts"
import { sharedRedis } from "../support/redis.ts"

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
const SPAN = "00f067aa0ba902b7"
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`

/** A worker in this process. */
async function startWorkerHere(config: WorkerConfig, log: Log, overrides: Partial<WorkerOptions>) {
  const worker = (await createWorker(config, log, new AbortController().signal, overrides))!
  void worker.run()
  return worker
}

/** A broker in this process that sends its spans to `endpoint`. */
async function tracedBroker(endpoint: string, overrides: Partial<ReturnType<typeof testConfig>> = {}) {
  const lines: Fields[] = []
  const log = createLog("info", line => void lines.push(JSON.parse(line)), false)
  const redisUrl = (await sharedRedis()).socket
  const config = { ...testConfig(), redisUrl, tracesUrl: `${endpoint}/v1/traces`, ...overrides }
  const broker = await startBroker(config, log)
  const queue = freshName()
  return {
    url: broker.url,
    queue,
    lines,
    client: new Client({ url: broker.url, token: TOKEN }),
    /** A plain HTTP request with only these headers, like curl. */
    async post<T>(path: string, body: unknown, headers: Record<string, string> = {}): Promise<T> {
      const all = { "x-api-token": TOKEN, "content-type": "application/json", ...headers }
      const init = { method: "POST", headers: all, body: JSON.stringify(body) }
      return (await fetch(broker.url + path, init)).json() as Promise<T>
    },
    async worker(endpoint: string, handlers: Record<string, Handler>, options: Partial<WorkerOptions> = {}) {
      const env = { BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN, QUEUES: queue, WORKER_NAME: "w1" }
      const config = readWorkerConfig({ ...env, OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })
      const worker = await startWorkerHere(config, log, { handlers, ...options })
      return { stop: () => worker.stop(), [Symbol.asyncDispose]: async () => void (await worker.stop()) }
    },
    [Symbol.asyncDispose]: () => broker.stop(),
  }
}

describe("spans", () => {
  test("submit, lease, handler and ack of a task are one trace, started by the broker", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    const seen: (string | undefined)[] = []
    const { task_id } = await broker.post<{ task_id: string }>("/submit", { type: "a", queue })
    await using _worker = await broker.worker(collector.url, {
      a: (_, { traceparent, task }) => {
        seen.push(traceparent, task.traceparent)
        // The active span, as the handler's own instrumentation sees it.
        seen.push(trace.getActiveSpan()?.spanContext().spanId)
      },
    })
    const isSettle = (kind: number) => (span: { kind: number }) => span.kind === kind
    const send = await collector.span(`send ${queue}`)
    const receive = await collector.span(`receive ${queue}`)
    const process = await collector.span(`process ${queue}`)
    const asks = await collector.span(`settle ${queue}`, isSettle(KIND.client))
    const settles = await collector.span(`settle ${queue}`, isSettle(KIND.server))

    const all = [send, receive, process, asks, settles]
    expect(new Set(all.map(span => span.traceId)).size).toBe(1)
    expect(send.parentSpanId).toBeUndefined()
    expect(all.slice(1).map(span => span.parentSpanId)).toEqual([
      send.spanId,
      send.spanId,
      process.spanId,
      asks.spanId,
    ])
    expect(all.map(span => span.kind)).toEqual([
      KIND.producer,
      KIND.client,
      KIND.consumer,
      KIND.client,
      KIND.server,
    ])
    // The broker listens on a port that the system chose after its tracing began.
    const port = Number(new URL(broker.url).port)
    expect([process, asks].map(span => span.attributes["server.port"])).toEqual([port, port])
    expect(all.map(span => span.service)).toEqual(
      ["broker", "broker", "worker", "worker", "broker"].map(part => `task-queue-${part}`),
    )
    for (const { attributes, name, links } of all) {
      const [operation] = name.split(" ")
      expect(attributes).toMatchObject({
        "messaging.system": "task_queue",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": task_id,
        "server.address": "127.0.0.1",
      })
      expect(attributes).not.toHaveProperty(["messaging.batch.message_count"])
      expect(links).toEqual([])
    }
    for (const { attributes } of all.slice(1)) expect(attributes["messaging.client.id"]).toBe("w1")
    expect(process.attributes).toMatchObject({
      "tq.task.type": "a",
      "tq.task.attempt": 1,
      "tq.task.outcome": "done",
    })
    expect(seen).toEqual([
      `00-${send.traceId}-${process.spanId}-01`,
      `00-${send.traceId}-${send.spanId}-01`,
      process.spanId,
    ])
  })

  test("the span of a redacted task has no error text", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    await broker.post("/submit", { type: "a", queue, redact: true, max_retries: 0, payload: "secret" })
    const fail: Handler = payload => {
      throw Object.assign(new Error(`${payload}`), { name: `${payload}` })
    }
    await using _worker = await broker.worker(collector.url, { a: fail })
    const span = await collector.span(`process ${queue}`)
    expect(span.attributes).toMatchObject({ "tq.task.outcome": "failed", "error.type": "failed" })
    expect(JSON.stringify(span)).not.toContain("secret")
  })

  test("a label named traceparent is not a trace context", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    await broker.post("/submit", { type: "a", queue, meta: { traceparent: TRACEPARENT } })
    await broker.post("/lease", { queues: [queue] })
    const { spanId } = await collector.span(`send ${queue}`)
    expect((await collector.span(`receive ${queue}`)).parentSpanId).toBe(spanId)
  })

  test("the caller's trace continues, and the task keeps the caller's context unchanged", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    await broker.post("/submit", { type: "a", queue }, { traceparent: TRACEPARENT, tracestate: "x=1" })
    const { tasks } = await broker.post<LeaseAnswer>("/lease", { queues: [queue] })
    expect(tasks[0]).toMatchObject({ traceparent: TRACEPARENT, tracestate: "x=1" })
    const { id: task_id, lease, traceparent } = tasks[0]!
    await broker.post("/ack", { task_id, lease }, { traceparent: traceparent! })
    for (const operation of ["send", "receive", "settle"])
      expect(await collector.span(`${operation} ${queue}`)).toMatchObject({
        traceId: TRACE,
        parentSpanId: SPAN,
        failed: false,
        links: [],
      })
    // A context in the body applies only to the task.
    await broker.post("/submit", { type: "b", queue, traceparent: TRACEPARENT })
    await collector.span(`send ${queue}`, ({ parentSpanId }) => parentSpanId === SPAN)
  })

  test("a span about several tasks has a trace of its own and links to theirs", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    const submits = [0, 1, 2].map(() => ({ type: "a", queue }))
    await broker.post("/submit", [...submits, { ...submits[0], traceparent: TRACEPARENT }])
    const sent = await collector.span(`send ${queue}`)
    expect(sent.attributes).toMatchObject({ "messaging.batch.message_count": 4 })
    expect(sent.links).toEqual([SPAN])
    const release = Promise.withResolvers<void>()
    await using _worker = await broker.worker(collector.url, { a: () => release.promise })
    const received = await collector.span(`receive ${queue}`)
    expect(received.attributes).toMatchObject({ "messaging.batch.message_count": 4 })
    expect(received.links.toSorted()).toEqual([sent.spanId, sent.spanId, sent.spanId, SPAN].toSorted())
    expect(received.parentSpanId).toBeUndefined()
    release.resolve()
    const asked = await collector.span(`settle ${queue}`, ({ kind }) => kind === KIND.client)
    const settled = await collector.span(`settle ${queue}`, ({ kind }) => kind === KIND.server)
    expect(settled).toMatchObject({ traceId: asked.traceId, parentSpanId: asked.spanId })
    await until("all runs are recorded", () => processed().length === 4)
    function processed() {
      return collector.spans.filter(({ name }) => name === `process ${queue}`)
    }
    expect(asked.links.toSorted()).toEqual(
      processed()
        .map(span => span.spanId)
        .toSorted(),
    )
    expect(
      processed()
        .map(span => span.parentSpanId!)
        .toSorted(),
    ).toEqual(received.links.toSorted())
  })

  test("failures are recorded: of a handler, of an aborted handler, and of a late ack", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    const begun = Promise.withResolvers<void>()
    await using worker = await broker.worker(
      collector.url,
      {
        fails: () => {
          throw new TypeError(`no such thing: ${"x".repeat(5_000)}`)
        },
        stays: (_, { signal }) => {
          begun.resolve()
          return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
        },
      },
      { drainMs: 0 },
    )
    await broker.post("/submit", { type: "fails", queue, max_retries: 0 })
    const span = await collector.span(`process ${queue}`)
    expect(span).toMatchObject({ failed: true, attributes: { "error.type": "TypeError" } })
    await broker.post("/submit", { type: "stays", queue })
    await begun.promise
    await worker.stop()
    const left = await collector.span(
      `process ${queue}`,
      ({ attributes }) => attributes["tq.task.type"] === "stays",
    )
    expect(left.attributes["tq.task.outcome"]).toBe("WorkerStopping")
    await broker.post("/ack", { task_id: `${queue}:none`, lease: `1.${"a".repeat(22)}` })
    const lost = await collector.span(`settle ${queue}`, ({ failed }) => failed)
    expect(lost.attributes["error.type"]).toBe("task_not_found")
  })

  test("the span of a long poll starts when its task became ready", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    const poll = broker.post("/lease", { queues: [queue], wait_ms: 20_000 })
    await Bun.sleep(2_000)
    const submittedAt = performance.now()
    await broker.post("/submit", { type: "a", queue })
    await poll
    const answeredAt = performance.now()
    const { tookMs } = await collector.span(`receive ${queue}`)
    // A second, because the clocks differ. The poll waited two before the submit.
    expect(tookMs).toBeLessThan(answeredAt - submittedAt + 1_000)
  })
})

describe("sampling", () => {
  test("with always_off nothing is sent, and the task passes that decision on", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url, { otelTracesSampler: "parentbased_always_off" })
    const { queue } = broker
    await broker.post("/submit", { type: "a", queue })
    const { tasks } = await broker.post<LeaseAnswer>("/lease", { queues: [queue] })
    expect(tasks[0]!.traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    // The decision of a caller that samples is followed.
    await broker.post("/submit", { type: "b", queue }, { traceparent: TRACEPARENT })
    await collector.span(`send ${queue}`)
    expect(collector.spans.map(({ traceId }) => traceId)).toEqual([TRACE])
  })

  test("the decision of a caller that does not sample is followed", async () => {
    await using collector = new Collector()
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    await broker.post("/submit", { type: "a", queue }, { traceparent: `00-${TRACE}-${SPAN}-00` })
    await broker.post("/submit", { type: "b", queue })
    await collector.span(`send ${queue}`)
    expect(collector.spans.some(({ traceId }) => traceId === TRACE)).toBeFalse()
  })
})

describe("the variables of OpenTelemetry", () => {
  const AT = "http://h:4318"
  const read = (env: Record<string, string>) => {
    const config = readBrokerConfig(env)
    expect(readWorkerConfig(env)).toMatchObject({
      tracesUrl: config.tracesUrl as string,
      tracesWarnings: config.tracesWarnings,
    })
    return config
  }

  test.each<[Record<string, string>, string | undefined]>([
    [{}, undefined],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${AT}/` }, `${AT}/v1/traces`],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${AT}/otlp/?key=a` }, `${AT}/otlp/v1/traces?key=a`],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${AT}/own` }, `${AT}/own`],
    [
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${AT}/own`, OTEL_EXPORTER_OTLP_ENDPOINT: "no address" },
      `${AT}/own`,
    ],
    [{ OTEL_SDK_DISABLED: "true" }, undefined],
    [{ OTEL_SDK_DISABLED: "TRUE", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, undefined],
    [{ OTEL_SDK_DISABLED: "False", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [{ OTEL_SDK_DISABLED: "", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [{ OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: AT }, undefined],
    [{ OTEL_TRACES_EXPORTER: "None", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, undefined],
    [{ OTEL_TRACES_EXPORTER: "OTLP", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: "http/json", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [
      {
        OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "HTTP/JSON",
        OTEL_EXPORTER_OTLP_ENDPOINT: AT,
      },
      `${AT}/v1/traces`,
    ],
    [{ OTEL_PROPAGATORS: "baggage, TraceContext", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [{ OTEL_TRACES_SAMPLER: "ALWAYS_ON", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    [{ OTEL_TRACES_SAMPLER_ARG: "not used", OTEL_EXPORTER_OTLP_ENDPOINT: AT }, `${AT}/v1/traces`],
    // Without an address, or with tracing off, the other variables are not used.
    [{ OTEL_TRACES_SAMPLER: "xray", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, undefined],
    [
      { OTEL_SDK_DISABLED: "true", OTEL_EXPORTER_OTLP_ENDPOINT: "no address", OTEL_PROPAGATORS: "b3" },
      undefined,
    ],
  ])("%j: %s", (env, url) => {
    expect(read(env)).toMatchObject({ tracesUrl: url as string, tracesWarnings: [] })
  })

  test.each<[name: string, value: string, warning: string]>([
    ["OTEL_SDK_DISABLED", "1", "OTEL_SDK_DISABLED=1 is ignored"],
    ["OTEL_SDK_DISABLED", "yes", "OTEL_SDK_DISABLED=yes is ignored"],
    ["OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER: zipkin is not supported"],
    ["OTEL_TRACES_EXPORTER", "otlp, console", "OTEL_TRACES_EXPORTER: console is not supported"],
    ["OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "No spans are sent: OTLP over grpc is not supported"],
    ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC", "No spans are sent: OTLP over grpc is not supported"],
    ["OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "Spans are sent by http/json, not by http/protobuf"],
    ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp", "Spans are sent by http/json, not by udp"],
    ["OTEL_PROPAGATORS", "b3,jaeger", "OTEL_PROPAGATORS is ignored"],
    ["OTEL_PROPAGATORS", "none", "OTEL_PROPAGATORS is ignored"],
    ["OTEL_TRACES_SAMPLER", "jaeger_remote", "OTEL_TRACES_SAMPLER=jaeger_remote is ignored"],
  ])("%s=%s is not supported and causes one warning", (name, value, warning) => {
    const { tracesUrl, tracesWarnings } = read({ OTEL_EXPORTER_OTLP_ENDPOINT: AT, [name]: value })
    expect(tracesUrl).toBe(value.toLowerCase() === "grpc" ? undefined : `${AT}/v1/traces`)
    expect(tracesWarnings).toHaveLength(1)
    expect(tracesWarnings[0]).toContain(warning)
  })

  test.each(["1.5", "-0", "much"])("a ratio of %s is ignored with a warning", OTEL_TRACES_SAMPLER_ARG => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: AT,
      OTEL_TRACES_SAMPLER: "traceidratio",
      OTEL_TRACES_SAMPLER_ARG,
    }
    const { otelTracesSamplerArg, tracesWarnings } = read(env)
    expect(otelTracesSamplerArg).toBe(1)
    expect(tracesWarnings).toEqual([expect.stringContaining("OTEL_TRACES_SAMPLER_ARG")])
    expect(read({ ...env, OTEL_TRACES_SAMPLER_ARG: "0.25" }).otelTracesSamplerArg).toBe(0.25)
  })

  test.each(["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])(
    "%s that is not an address is refused at start",
    name => {
      for (const reader of [readBrokerConfig, readWorkerConfig])
        for (const value of ["localhost:4318", "unix:///x"])
          expect(() => reader({ [name]: value })).toThrow(ConfigError)
    },
  )

  test("warnings are logged, also for OTEL_TRACES_EXPORTER without an address", async () => {
    const lines: Fields[] = []
    const log = createLog("info", line => void lines.push(JSON.parse(line)), false)
    expect(
      await startSpans(readBrokerConfig({ OTEL_TRACES_EXPORTER: "otlp" }), "broker", log),
    ).toBeUndefined()
    expect(lines).toMatchObject([
      { level: "warn", message: expect.stringContaining("OTEL_EXPORTER_OTLP_ENDPOINT") },
    ])
  })
})

describe("the collector", () => {
  test.each([
    ["away", "http://127.0.0.1:1"],
    ["out of order", undefined],
  ])("%s: tasks continue, it is logged once, and a stop does not wait for it", async (_, address) => {
    await using collector = new Collector()
    collector.status = 400
    await using broker = await tracedBroker(address ?? collector.url)
    const { queue } = broker
    let done = 0
    await using worker = await broker.worker(address ?? collector.url, { a: () => ++done })
    for (let i = 0; i < 20; i++) await broker.post("/submit", { type: "a", queue })
    await until("all are done", () => done === 20)
    if (address === undefined)
      await until("it is logged", () => broker.lines.some(line => line.message === "Spans cannot be sent"))
    const from = performance.now()
    expect(await worker.stop()).toBeTrue()
    await broker[Symbol.asyncDispose]()
    expect(performance.now() - from).toBeLessThan(9_000) // a sender gives up after 10 s
    // One line of the broker and one of the worker.
    expect(broker.lines.filter(line => line.message === "Spans cannot be sent").length).toBeLessThan(3)
  })

  test("logs that it is back, and how many spans were lost", async () => {
    await using collector = new Collector()
    collector.status = 400
    await using broker = await tracedBroker(collector.url)
    const { queue } = broker
    await broker.post("/submit", { type: "a", queue })
    const line = (message: string) => broker.lines.find(line => line.message === message)
    await until("it is logged", () => line("Spans cannot be sent"))
    await broker.post("/submit", { type: "a", queue })
    await until("the export is retried", () => collector.requests === 2)
    collector.status = 200
    await broker.post("/submit", { type: "a", queue })
    await until("it is logged", () => line("Spans can be sent again"))
    expect(line("Spans can be sent again")).toMatchObject({ lost: 2, to: `${collector.url}/v1/traces` })
    expect(broker.lines.filter(line => line.message === "Spans cannot be sent").length).toBe(1)
  })

  test("gets no more spans than the buffer holds if it is slow, and the loss is logged", async () => {
    await using collector = new Collector()
    const lines: Fields[] = []
    const log = createLog("info", line => void lines.push(JSON.parse(line)), false)
    const config = { ...testConfig(), tracesUrl: `${collector.url}/v1/traces` }
    const spans = (await startSpans(config, "broker", log))!
    const task = { id: "a", queue: "q", waitedMs: 0, memberJson: "spoilt" } as Leased
    for (let i = 0; i < 10_000; i++) spans.recordLeases([task], "w", Date.now())
    await until("there is room again", () => collector.spans.length > 2_000)
    spans.recordLeases([task], "w", Date.now())
    await spans.close()
    expect(collector.spans.length).toBeWithin(4_000, 5_000)
    expect(lines).toContainEqual(expect.objectContaining({ note: expect.stringContaining("Dropped") }))
  })

  test("has its password in no log line", async () => {
    await using broker = await tracedBroker("http://me:secret-word@127.0.0.1:1")
    expect(broker.lines.some(line => line.message === "Spans are sent")).toBeTrue()
    expect(JSON.stringify(broker.lines)).not.toContain("secret-word")
  })
})

describe("processes", () => {
  test("buffered spans are sent at a stop, under the configured names", async () => {
    await using collector = new Collector()
    await using runs = await directory()
    const env = {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces`,
      OTEL_SERVICE_NAME: "mine",
      OTEL_EXPORTER_OTLP_HEADERS: "x-key=other",
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-key=abc",
      OTEL_EXPORTER_OTLP_TIMEOUT: "soon",
      OTEL_EXPORTER_OTLP_COMPRESSION: "zstd",
    }
    await using broker = await startBrokerProcess((await sharedRedis()).socket, env)
    const queue = freshName()
    const resource = { OTEL_RESOURCE_ATTRIBUTES: "service.name=theirs" }
    await using worker = await startWorker(broker.url, runs, {
      QUEUES: queue,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      ...resource,
    })
    const { task_id } = await broker.client.submit({ type: "record", queue })
    await until("it is done", async () => (await broker.client.status(task_id)).status === "done")
    expect(await worker.stop()).toBe(0)
    expect(await broker.process.stop()).toBe(0)
    expect(collector.headers!.get("x-key")).toBe("abc")
    // What the exporter reads itself, and ignores, is logged as well.
    const notes = broker.process.log.map(({ note }) => String(note)).join()
    expect(notes).toContain("OTEL_EXPORTER_OTLP_TIMEOUT")
    expect(notes).toContain("OTEL_EXPORTER_OTLP_COMPRESSION")
    const names = collector.spans.map(({ name, service }) => `${service}: ${name}`)
    expect(new Set(names)).toEqual(
      new Set([
        `mine: send ${queue}`,
        `mine: receive ${queue}`,
        `theirs: process ${queue}`,
        `theirs: settle ${queue}`,
        `mine: settle ${queue}`,
      ]),
    )
  })

  test("without an endpoint no tracing code is loaded", async () => {
    // prom-client loads OpenTelemetry's API, which is a few functions that do nothing.
    const script = `
      const { startBroker } = await import(${JSON.stringify(join(ROOT, "broker.ts"))})
      const { createWorker } = await import(${JSON.stringify(join(ROOT, "worker.ts"))})
      const { readBrokerConfig, readWorkerConfig } = await import(${JSON.stringify(join(ROOT, "lib/config/config.ts"))})
      const { createLog } = await import(${JSON.stringify(join(ROOT, "lib/log.ts"))})
      const broker = await startBroker(readBrokerConfig(), createLog("silent"))
      const env = { ...process.env, BROKER_URL: broker.url }
      const worker = await createWorker(readWorkerConfig(env), createLog("info"), new AbortController().signal)
      worker.run()
      await worker.stop()
      await broker.stop()
      console.log("loaded: " + Object.keys(require.cache).filter(path => /@opentelemetry\\/(?!api\\/)|lib\\/spans/.test(path)).length)
      process.exit(0)`
    const loaded = async (more: Record<string, string>) => {
      const env = {
        REDIS_URL: (await sharedRedis()).socket,
        API_SECRET_TOKEN: TOKEN,
        HOST: "127.0.0.1",
        PORT: "0",
      }
      await using child = new Process({
        cmd: [process.execPath, "-e", script],
        env: { ...env, ...more },
        cwd: ROOT,
      })
      await child.ended()
      return Number(/loaded: (\d+)/.exec(child.stdout)?.[1] ?? child.stderr)
    }
    expect(await loaded({})).toBe(0)
    const OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:1"
    expect(await loaded({ OTEL_EXPORTER_OTLP_ENDPOINT })).toBeGreaterThan(10)
    for (const off of [{ OTEL_SDK_DISABLED: "True" }, { OTEL_TRACES_EXPORTER: "none" }])
      expect(await loaded({ OTEL_EXPORTER_OTLP_ENDPOINT, ...off })).toBe(0)
  })
})

test("without tracing a handler gets the task's own context", async () => {
  await using broker = await tracedBroker("http://127.0.0.1:1", { tracesUrl: undefined })
  const { queue } = broker
  const seen: unknown[] = []
  const config = readWorkerConfig({ BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN, QUEUES: queue })
  const handlers = new Map([
    ...(await loadHandlers(undefined)),
    ["a", (_: never, { traceparent }: { traceparent: string | undefined }) => seen.push(traceparent)],
  ] as [string, Handler][])
  const worker = await startWorkerHere(config, createLog("silent"), { handlers })
  await broker.post("/submit", { type: "a", queue }, { traceparent: TRACEPARENT })
  await until("it ran", () => seen.length === 1)
  await worker.stop()
  expect(seen).toEqual([TRACEPARENT])
})
