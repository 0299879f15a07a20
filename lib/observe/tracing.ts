/**
 * Trace contexts as they are on the wire, and whether spans are made. What makes them is not loaded unless an
 * endpoint is given: lib/observe/spans.ts, and all that it needs, comes by a dynamic import then.
 */
import type { BrokerConfig, WorkerConfig } from "../config/config.ts"
import type { Log } from "../log.ts"
import type { Spans } from "./spans.ts"

/** The header of W3C Trace Context: version, trace, span, flags. */
export const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/** For a line of the log; undefined where there is none, or something else. */
export const traceIdOf = (traceparent: string | null | undefined): string | undefined =>
  traceparent && TRACEPARENT.test(traceparent) ? traceparent.slice(3, 35) : undefined

export const SAMPLERS = [
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
  "always_on",
  "always_off",
  "traceidratio",
] as const

type TraceConfig = Pick<
  BrokerConfig & WorkerConfig,
  "otelExporterOtlpEndpoint" | "otelServiceName" | "otelTracesSampler" | "otelTracesSamplerArg"
>

/** undefined: nobody wants spans. */
export async function startSpans(
  config: TraceConfig,
  part: "broker" | "worker",
  log: Log,
): Promise<Spans | undefined> {
  const { otelExporterOtlpEndpoint: endpoint } = config
  if (endpoint === undefined) return undefined
  const { Spans } = await import("./spans.ts")
  return Spans.start(
    {
      endpoint,
      part,
      serviceName: config.otelServiceName,
      sampler: config.otelTracesSampler,
      ratio: config.otelTracesSamplerArg,
    },
    log,
  )
}
