/** The broker that served this page and its Redis, as /readyz reports them. */
import { Fragment } from "preact"
import { requestJson } from "./api.ts"
import { useData } from "./live.ts"
import { SafeText } from "./text.tsx"

const POLL_MS = 10_000
const LABELS: Record<string, string> = {
  redis: "Redis",
  durability: "Durability",
  maxmemory_policy: "Memory policy",
  topology: "Topology",
  replicas: "Replicas",
  wait_replicas: "Replicas waited for",
  degraded: "Degraded",
}

export function BrokerPanel() {
  const load = (signal: AbortSignal) =>
    requestJson<Record<string, unknown>>("GET", "/readyz", undefined, signal)
  const { value } = useData("readyz", load, { pollMs: POLL_MS })
  if (value === undefined) return null
  return (
    <section aria-label="This broker">
      <dl class="panel facts double">
        <dt>This broker</dt>
        <dd>{location.host}</dd>
        {Object.entries(LABELS).map(
          ([name, label]) =>
            value[name] !== undefined && (
              <Fragment key={name}>
                <dt>{label}</dt>
                <dd>
                  <SafeText
                    text={typeof value[name] === "object" ? JSON.stringify(value[name]) : `${value[name]}`}
                  />
                </dd>
              </Fragment>
            ),
        )}
      </dl>
    </section>
  )
}
