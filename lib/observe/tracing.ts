/**
 * Trace contexts as they are on the wire, and whether spans are made. What makes them is not loaded unless an
 * endpoint is given: lib/observe/spans.ts, and all that it needs, comes by a dynamic import then.
 */
import type { BrokerConfig, WorkerConfig } from "../config/config.ts"
import type { Log } from "../log.ts"
import type { Spans } from "./spans.ts"

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
