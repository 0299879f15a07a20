/**
 * Starts tracing if an OTLP endpoint is configured. Otherwise lib/observe/spans.ts and the OpenTelemetry packages are
 * not loaded at all.
 */
import { hostname } from "node:os"
import type { BrokerConfig, WorkerConfig } from "../config/config.ts"
import type { Log } from "../log.ts"
import type { BrokerPlace, Spans } from "./spans.ts"

type TraceConfig = Pick<
  BrokerConfig & WorkerConfig,
  "tracesUrl" | "tracesWarnings" | "otelServiceName" | "otelTracesSampler" | "otelTracesSamplerArg"
> &
  (Pick<BrokerConfig, "host" | "port"> | Pick<WorkerConfig, "brokerUrl">)

function brokerPlace(config: TraceConfig): BrokerPlace {
  if ("brokerUrl" in config) {
    const { hostname, port, protocol } = new URL(config.brokerUrl)
    return {
      address: hostname.replace(/[[\]]/g, ""),
      port: Number(port) || (protocol === "https:" ? 443 : 80),
    }
  }
  const isAnyAddress = config.host === "0.0.0.0" || config.host === "::"
  return { address: isAnyAddress ? hostname() : config.host, port: config.port || undefined }
}

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
      broker: brokerPlace(config),
      serviceName: config.otelServiceName,
      sampler: config.otelTracesSampler,
      ratio: config.otelTracesSamplerArg,
    },
    log,
  )
}
