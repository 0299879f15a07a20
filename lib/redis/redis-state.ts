/** What a Redis of one or several masters reports about itself. Of several masters, the weakest counts. */
import { Refused } from "../errors.ts"
import { DURABILITIES } from "../wire/operating.ts"
import type { Code } from "../wire/problem.ts"
import { type RedisTarget, type TopologyKind, topologyOf } from "./connection.ts"
import { lackOfRights } from "./rights.ts"
import { asRefusal, isFull, refusalBy } from "./server-errors.ts"
import { MissingRights, NO_INFO, type ServerState, UNKNOWN } from "./server-state.ts"

export interface RedisState extends Omit<ServerState, "refusal"> {
  topology: TopologyKind
  /** How many replicas must confirm a change before it is answered. */
  waitReplicas: number
  /** Why no master accepts changes; undefined if one does. */
  refused: { code: Code; detail: string } | undefined
  /** The faults that prevent a part of the calls. */
  degraded: string[]
}

/** Why a master does not do what the broker needs. `at`: its address in a Cluster. */
export interface MasterFault {
  error: Error
  at: string | undefined
}

/** `states`: of the masters that answer, at least one. `rights`: those that the Redis user lacks on some connection. */
export function combineStates(
  target: RedisTarget,
  masters: number,
  states: readonly ServerState[],
  faults: readonly MasterFault[],
  rights: ReadonlySet<string>,
): RedisState {
  // A full master refuses only what adds data.
  const refusing = faults.filter(({ error }) => !isFull(error))
  const reason =
    rights.size > 0
      ? new MissingRights(lackOfRights(rights))
      : refusing.length === masters
        ? refusing[0]!.error
        : undefined
  const worst = <T>(of: (state: ServerState) => T, rank: (value: T) => number) =>
    states.map(of).reduce((a, b) => (rank(b) < rank(a) ? b : a))
  const sum = (of: (state: ServerState) => number) => states.reduce((total, state) => total + of(state), 0)
  return {
    version: worst(
      state => state.version,
      version => Number.parseFloat(version),
    ),
    maxmemoryPolicy: worst(
      state => state.maxmemoryPolicy,
      policy => (policy === "noeviction" ? 1 : 0),
    ),
    durability: worst(
      state => state.durability,
      durability => DURABILITIES.indexOf(durability),
    ),
    usedBytes: sum(state => state.usedBytes),
    // One master without a limit has no limit.
    maxBytes: states.every(state => state.maxBytes > 0) ? sum(state => state.maxBytes) : 0,
    replicas: worst(state => state.replicas, Number),
    topology: topologyOf(target),
    waitReplicas: target.waitReplicas ?? 0,
    refused: reason && describe(reason),
    degraded: [
      ...faults.map(({ error, at }) =>
        at === undefined ? describe(error).detail : describeNode(error, masters),
      ),
      ...(states.some(({ version }) => version === UNKNOWN) ? [NO_INFO] : []),
    ],
  }
}

function describe(error: Error): { code: Code; detail: string } {
  if (error instanceof MissingRights) return { code: "not_ready", detail: error.message }
  const refusal = asRefusal(error)
  return refusal instanceof Refused
    ? { code: refusal.reason, detail: refusal.facts.detail ?? error.message }
    : { code: "redis_unavailable", detail: error.message }
}

function describeNode(error: Error, masters: number): string {
  const isReachable = refusalBy(error) !== undefined || isFull(error) || error instanceof MissingRights
  const fault = isReachable ? describe(error).detail : "it cannot be reached, so its queues are not served."
  return `One of ${masters} masters of the Cluster: ${fault}`
}
