/** A trace collector that receives spans by OTLP over HTTP, as JSON. */
import { until } from "./harness.ts"

/** The numbers of span kinds in OTLP. */
export const KIND = { server: 2, client: 3, producer: 4, consumer: 5 }

interface ReceivedSpan {
  service: string
  name: string
  kind: number
  traceId: string
  spanId: string
  parentSpanId: string | undefined
  attributes: Record<string, unknown>
  /** The ids of the linked spans, which may belong to other traces. */
  links: string[]
  failed: boolean
  tookMs: number
}

export class Collector implements AsyncDisposable {
  spans: ReceivedSpan[] = []
  /** The status of every answer. */
  status = 200
  requests = 0
  headers: Headers | undefined
  readonly #server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async request => {
      this.requests++
      this.headers = request.headers
      if (new URL(request.url).pathname !== "/v1/traces") return new Response(null, { status: 404 })
      const body = (await request.json()) as Body
      if (this.status === 200) this.spans.push(...spansOf(body))
      return Response.json({}, { status: this.status })
    },
  })

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`
  }

  /** Waits for a span with this name and returns it. */
  async span(name: string, holds: (span: ReceivedSpan) => unknown = () => true): Promise<ReceivedSpan> {
    const found = () => this.spans.find(span => span.name === name && holds(span))
    await until(`a span "${name}" arrives`, found)
    return found()!
  }

  async [Symbol.asyncDispose]() {
    await this.#server.stop(true)
  }
}

type Attribute = { key: string; value: Record<string, unknown> }
interface Body {
  resourceSpans: {
    resource: { attributes: Attribute[] }
    scopeSpans: { spans: Record<string, unknown>[] }[]
  }[]
}

const plain = (attributes: unknown): Record<string, unknown> =>
  Object.fromEntries(
    ((attributes ?? []) as Attribute[]).map(({ key, value }) => [key, Object.values(value)[0]]),
  )

function spansOf({ resourceSpans }: Body): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(span => ({
        service: String(plain(resource.attributes)["service.name"]),
        name: String(span.name),
        kind: Number(span.kind),
        traceId: String(span.traceId),
        spanId: String(span.spanId),
        parentSpanId: span.parentSpanId as string | undefined,
        attributes: plain(span.attributes),
        links: ((span.links ?? []) as { spanId: string }[]).map(({ spanId }) => spanId),
        failed: (span.status as { code?: number }).code === 2,
        tookMs: (Number(span.endTimeUnixNano) - Number(span.startTimeUnixNano)) / 1e6,
      })),
    ),
  )
}
