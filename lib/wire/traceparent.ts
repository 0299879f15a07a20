/** The header of W3C Trace Context: version, trace, span, flags. */
export const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/** The trace id for log lines; undefined if the header is absent or invalid. */
export const traceIdOf = (traceparent: string | null | undefined): string | undefined =>
  traceparent && TRACEPARENT.test(traceparent) ? traceparent.slice(3, 35) : undefined
