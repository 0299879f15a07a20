/**
 * OTEL_*, read as OpenTelemetry's specification requires: upper and lower case are equal, and values that are not supported
 * are ignored with a warning. Unused variables are not checked. The exporter reads others itself, such as headers.
 */
import type { Reader } from "./reader.ts"
import type { Variable } from "./variables.ts"

export const SAMPLERS = [
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
  "always_on",
  "always_off",
  "traceidratio",
] as const

export function readTraces(read: Reader) {
  const warnings: string[] = []
  /** The value in lower case; `fallback` if the variable is unset or has another value. */
  const word = <T extends string>(
    name: Variable,
    words: readonly T[],
    fallback: T,
    fallbackText: string,
  ): T => {
    const value = read.text(name, fallback)
    const found = words.find(word => word === value.trim().toLowerCase())
    if (found === undefined)
      warnings.push(`${name}=${value} is ignored: it must be one of ${words.join(", ")}. ${fallbackText}`)
    return found ?? fallback
  }

  /** The words of a list, in lower case. */
  const list = (name: Variable): string[] =>
    (read.text(name) ?? "")
      .toLowerCase()
      .split(",")
      .map(item => item.trim())
      .filter(item => item !== "")

  const isDisabled = word("OTEL_SDK_DISABLED", ["true", "false"], "false", "It counts as false") === "true"
  const exporters = list("OTEL_TRACES_EXPORTER")
  const isOff = isDisabled || exporters.includes("none")
  const url = readUrl(read, isOff)
  const [shared, own] = [list("OTEL_EXPORTER_OTLP_PROTOCOL"), list("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")]
  const [protocol = "http/json"] = [...own, ...shared]
  const sampler = word("OTEL_TRACES_SAMPLER", SAMPLERS, "parentbased_always_on", "All traces are kept")
  const ratio = readRatio(read, sampler, warnings)
  const propagators = list("OTEL_PROPAGATORS")

  for (const name of exporters)
    if (name !== "otlp")
      warnings.push(`OTEL_TRACES_EXPORTER: ${name} is not supported and counts as otlp: set otlp or none`)
  if (protocol === "grpc")
    warnings.push(
      "No spans are sent: OTLP over grpc is not supported. Set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json, and set " +
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the collector's address for HTTP, usually http://<host>:4318/v1/traces",
    )
  else if (protocol !== "http/json") warnings.push(`Spans are sent by http/json, not by ${protocol}`)
  if (propagators.length > 0 && !propagators.includes("tracecontext"))
    warnings.push("OTEL_PROPAGATORS is ignored: tasks carry only the W3C context (tracecontext)")
  if (exporters.length > 0 && url === undefined)
    warnings.push("No spans are sent: OTEL_TRACES_EXPORTER is set, but OTEL_EXPORTER_OTLP_ENDPOINT is not")
  const isWanted = !isOff && (url !== undefined || exporters.length > 0)
  return {
    /** Where spans are sent; undefined: none are created. */
    tracesUrl: protocol === "grpc" ? undefined : url,
    tracesWarnings: isWanted ? warnings : [],
    otelSdkDisabled: isDisabled,
    otelServiceName: read.text("OTEL_SERVICE_NAME"),
    otelTracesSampler: sampler,
    otelTracesSamplerArg: ratio,
  }
}

/** The address for traces is used unchanged. The path is added to the address for all signals. */
function readUrl(read: Reader, isOff: boolean): string | undefined {
  const own = read.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
  const shared = read.text("OTEL_EXPORTER_OTLP_ENDPOINT")
  if (isOff) return undefined
  const protocols = ["http:", "https:"]
  if (own !== undefined) return read.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", protocols)
  if (shared === undefined || read.url("OTEL_EXPORTER_OTLP_ENDPOINT", protocols) === undefined)
    return undefined
  const url = new URL(shared)
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/v1/traces`
  return url.href
}

function readRatio(read: Reader, sampler: string, warnings: string[]): number {
  const value = read.text("OTEL_TRACES_SAMPLER_ARG", "1").trim()
  if (!sampler.endsWith("traceidratio")) return 1
  if (/^(0|1|0?\.\d+|1\.0+|0\.)$/.test(value)) return Number(value)
  warnings.push(
    `OTEL_TRACES_SAMPLER_ARG=${value} is ignored: it must be a number from 0 to 1. All traces are kept`,
  )
  return 1
}
