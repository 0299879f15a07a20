/**
 * Starts tracing if an OTLP endpoint is configured. Otherwise lib/observe/spans.ts and the OpenTelemetry packages are
 * not loaded at all.
 */
import type { BrokerConfig, WorkerConfig } from "../config/config.ts"
import type { Log } from "../log.ts"
import type { Spans } from "./spans.ts"

type TraceConfig = Pick<
  BrokerConfig & WorkerConfig,
  "tracesUrl" | "tracesWarnings" | "otelServiceName" | "otelTracesSampler" | "otelTracesSamplerArg"
>

/** Returns undefined if no endpoint is configured. */
export async function startSpans(
  config: TraceConfig,
  part: "broker" | "worker",
  log: Log,
): Promise<Spans | undefined> {
  for (const warning of config.tracesWarnings) log.warn(warning)
  const { tracesUrl: url } = config
  if (url === undefined) return undefined
  const { Spans } = await import("./spans.ts")
  return Spans.start(
    {
      url,
      part,
      serviceName: config.otelServiceName,
      sampler: config.otelTracesSampler,
      ratio: config.otelTracesSamplerArg,
    },
    log,
  )
}
