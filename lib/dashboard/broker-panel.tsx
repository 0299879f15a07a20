/** The brokers that share this Redis, and Redis as /readyz reports it: also why it is not ready. */
import { Fragment } from "preact"
import type { BrokersAnswer, BrokerView } from "../wire/brokers.ts"
import { can, Problem, requestJson } from "./api.ts"
import { brokerNow } from "./clock.ts"
import { useData } from "./live.ts"
import { ProblemNote } from "./parts.tsx"
import { Table } from "./table.tsx"
import { formatBytes, formatDuration, SafeText, Time } from "./text.tsx"

const POLL_MS = 10_000
const LABELS: Record<string, string> = {
  redis: "Redis",
  durability: "Durability",
  maxmemory_policy: "Memory policy",
  topology: "Topology",
  replicas: "Replicas",
  wait_replicas: "Replicas waited for",
  memory: "Redis memory",
}

type Facts = Record<string, unknown> & { degraded?: string[] }

export function BrokerPanel() {
  const ready = useData("readyz", loadReady, { pollMs: POLL_MS }).value
  const brokers = useData("brokers", loadBrokers, { pollMs: POLL_MS }).value
  if (ready === undefined) return null
  return (
    <section class="stack" aria-label="Brokers">
      <h2>Brokers</h2>
      {ready instanceof Problem ? (
        <ProblemNote problem={ready} />
      ) : (
        <>
          {ready.degraded?.map(fault => (
            <p key={fault} class="note warn">
              <SafeText text={fault} />
            </p>
          ))}
          <dl class="panel facts double">
            {Object.entries({ ...ready, ...memoryOf(brokers) }).map(
              ([name, value]) =>
                LABELS[name] !== undefined && (
                  <Fragment key={name}>
                    <dt>{LABELS[name]}</dt>
                    <dd>
                      <SafeText text={String(value)} />
                    </dd>
                  </Fragment>
                ),
            )}
          </dl>
        </>
      )}
      {brokers && <BrokerTable {...brokers} />}
    </section>
  )
}

/** That the broker is not ready is a fact as well, with its cause. */
const loadReady = (signal: AbortSignal): Promise<Facts | Problem> =>
  requestJson<Facts>("GET", "/readyz", undefined, signal).catch(error => {
    if (error instanceof Problem && error.status === 503) return error
    throw error
  })

const loadBrokers = async (signal: AbortSignal): Promise<BrokersAnswer | undefined> =>
  can("read") ? requestJson<BrokersAnswer>("GET", "/brokers", undefined, signal) : undefined

const memoryOf = (brokers: BrokersAnswer | undefined) => {
  if (brokers === undefined || brokers.redis_memory.used_bytes === 0) return {}
  const { used_bytes, max_bytes } = brokers.redis_memory
  const limit = max_bytes > 0 ? ` of ${formatBytes(max_bytes)}` : ", no limit"
  return { memory: formatBytes(used_bytes) + limit }
}

const BrokerTable = ({ broker: own, brokers }: BrokersAnswer) => (
  <Table<BrokerView>
    label="Brokers"
    rows={brokers}
    keyOf={({ broker }) => broker}
    columns={[
      {
        head: "Broker",
        cell: ({ broker }) => (
          <>
            <span class="mono">{broker}</span>{" "}
            {broker === own && <span class="dim">this one, {location.host}</span>}
          </>
        ),
      },
      { head: "Host", cell: ({ host, pid }) => <SafeText text={`${host}, process ${pid}`} most={100} /> },
      { head: "Version", cell: ({ version }) => version },
      { head: "Up for", num: true, cell: ({ started_at }) => formatDuration(brokerNow() - started_at) },
      { head: "Last seen", num: true, cell: ({ seen_at }) => <Time at={seen_at} /> },
    ]}
  />
)
