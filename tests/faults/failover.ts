/**
 * Sentinel and Cluster as the Redis of a run. Nothing is kept on disk: the data of a killed master exists only on its
 * replicas. The kinds of faults:
 *   killed                another server is promoted; the killed one comes back empty, as a replica
 *   frozen                it wakes after another was promoted, considers itself the master, and must step down
 *   replicas cut off      for a moment the master answers requests that no replica receives, and then dies
 *   one replica cut off   the same, but the other replica receives them: this replica must be promoted
 *   frozen, and nobody replaces it   (a Cluster without replicas) the queues of the other masters must be served
 *   split                 clients still reach the master and continue; its replicas and the Sentinels do not reach it
 */
import { Redis } from "ioredis"
import { BrokerProblem, Client } from "../../lib/client.ts"
import { DEFAULTS, QUEUES as QUEUE_NAMES, SCHEMA } from "../../lib/redis/keys.ts"
import { slotOf } from "../../lib/redis/topology.ts"
import { until } from "../support/processes.ts"
import { type RedisCluster, type RedisNode, redisCluster, sentinelTrio } from "../support/topologies.ts"
import { PROBE } from "./faults.ts"
import { TOKEN } from "./parts.ts"
import type { Over, Target, TargetFault } from "./target.ts"
import { PROBE_QUEUES, QUEUES } from "./workload.ts"

const PASSWORD = "secret"
/** How long replicas are cut off: too short to count as down, because such replicas are not promoted. */
const SHORT: [number, number] = [50, 400]

const list = (nodes: readonly RedisNode[]) => nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")

function adminOf(node: RedisNode, password?: string): Redis {
  const redis = new Redis({
    ...node.at,
    ...(password !== undefined && { password }),
    maxRetriesPerRequest: 0,
  })
  redis.on("error", () => {}) // each command reports it
  return redis
}

/** A master with its replicas, and operations on them. */
interface Group {
  master: RedisNode
  replicas: RedisNode[]
  /** Resolves when another server is the master. */
  promoted(): Promise<unknown>
  restart(node: RedisNode): Promise<void>
  /** Resolves when all servers are in their roles. */
  whole(): Promise<void>
  /** Whether WAIT_REPLICAS equals the number of replicas: then the new master accepts no writes until the old one is back. */
  needsAll: boolean
}

/** Waits for the new master. `restore` brings back the old one. */
async function replaced(
  { promoted, whole, needsAll }: Group,
  restore: () => Promise<unknown>,
): Promise<Over> {
  await promoted()
  const at = Date.now()
  if (needsAll) await restore()
  return {
    at,
    async restore() {
      if (!needsAll) await restore()
      await whole()
    },
  }
}

/** Cuts these replicas off from their master for `ms`, then kills the master. */
async function deafThenOrphaned(
  { master }: Group,
  replicas: readonly RedisNode[],
  ms: number,
): Promise<void> {
  const links = await Promise.all(replicas.map(each => each.call("CLIENT", "LIST", "TYPE", "master")))
  for (const each of replicas) each.freeze()
  // Otherwise data that it sends meanwhile would wait in their sockets.
  for (const link of links)
    await master.call("CLIENT", "KILL", "ADDR", / laddr=(\S+)/.exec(String(link))![1]!)
  await Bun.sleep(ms)
  await master.kill9()
  for (const each of replicas) each.thaw()
}

const failover = (weight: number, lasts: [number, number], run: TargetFault["run"]): TargetFault => ({
  weight,
  lasts,
  run,
  failover: true,
})

/** `of` selects the group that the fault hits. */
function faultsOf(of: (which: number) => Promise<Group>): Record<string, TargetFault> {
  const settled = ({ whole }: Group): Over => ({ at: Date.now(), restore: whole })
  return {
    "master killed": failover(8, [0, 0], async ({ which }) => {
      const group = await of(which)
      await group.master.kill9()
      return replaced(group, () => group.restart(group.master))
    }),
    "master frozen": failover(8, [0, 2_000], async ({ which, lastsMs }) => {
      const group = await of(which)
      group.master.freeze()
      return replaced(group, async () => {
        await Bun.sleep(lastsMs)
        group.master.thaw()
      })
    }),
    "replicas cut off, then master killed": failover(8, SHORT, async ({ which, lastsMs }) => {
      const group = await of(which)
      await deafThenOrphaned(group, group.replicas, lastsMs)
      return replaced(group, () => group.restart(group.master))
    }),
    "one replica cut off, then master killed": failover(8, SHORT, async ({ which, lastsMs }) => {
      const group = await of(which)
      await deafThenOrphaned(group, group.replicas.slice(0, 1), lastsMs)
      return replaced(group, () => group.restart(group.master))
    }),
    "replica killed": {
      weight: 3,
      lasts: [0, 1_500],
      async run({ which, lastsMs }) {
        const group = await of(which)
        await group.replicas[0]!.kill9()
        await Bun.sleep(lastsMs)
        await group.restart(group.replicas[0]!)
        return settled(group)
      },
    },
    "replica frozen": {
      weight: 3,
      lasts: [300, 3_000],
      async run({ which, lastsMs }) {
        const group = await of(which)
        group.replicas[0]!.freeze()
        await Bun.sleep(lastsMs)
        group.replicas[0]!.thaw()
        return settled(group)
      },
    },
    "scripts flushed": {
      weight: 2,
      lasts: [0, 0],
      async run({ which }) {
        await (await of(which)).master.call("SCRIPT", "FLUSH")
        return { at: Date.now() }
      },
    },
  }
}

/** A master, two replicas and three Sentinels. */
export async function sentinels(waitReplicas: number): Promise<Target> {
  const trio = await sentinelTrio({ password: PASSWORD })
  const group = async (): Promise<Group> => {
    const master = await trio.master()
    return {
      master,
      replicas: shuffled(trio.servers.filter(each => each !== master)),
      promoted: () => trio.promoted(master),
      restart: async node => node.restart(await trio.master()),
      whole: () => trio.whole(),
      needsAll: waitReplicas > 1,
    }
  }
  return {
    name: `three Sentinels, a master and two replicas, WAIT_REPLICAS=${waitReplicas}`,
    faults: {
      ...faultsOf(group),
      "master split from replicas and Sentinels": failover(8, [0, 2_000], async ({ lastsMs }) => {
        const hit = await group()
        await hit.master.cutOff()
        return replaced(hit, async () => {
          await Bun.sleep(lastsMs)
          await hit.master.letIn()
        })
      }),
    },
    linked: false,
    reach: () => ({
      env: {
        REDIS_SENTINELS: list(trio.sentinels),
        REDIS_PASSWORD: PASSWORD,
        REDIS_SENTINEL_PASSWORD: PASSWORD,
        WAIT_REPLICAS: `${waitReplicas}`,
      },
    }),
    mayLose: waitReplicas === 0,
    admin: async () => adminOf(await trio.master(), PASSWORD),
    admins: async () => [adminOf(await trio.master(), PASSWORD)],
    [Symbol.asyncDispose]: () => trio[Symbol.asyncDispose](),
  }
}

const slotOfQueue = (queue: string) => slotOf(`{${queue}}`)

/**
 * Three masters with this many replicas each; every master has one of the queues. Nodes vote by their last information
 * about each other: a replica that was cut off may win the election, and data that only the others have is lost.
 */
export async function cluster(waitReplicas: number, replicas: number): Promise<Target> {
  const nodes = await redisCluster({ replicas, partial: replicas === 0 })
  const ownerOf = async (queue: string) => (await nodes.owner(slotOfQueue(queue)))!
  return {
    name: `a Cluster of three masters with ${replicas} replica${replicas === 1 ? "" : "s"} each, WAIT_REPLICAS=${waitReplicas}`,
    faults:
      replicas === 0
        ? faultsWithoutReplicas(nodes)
        : faultsOf(async which => {
            const queue = QUEUES[Math.floor(which * QUEUES.length)]!
            const master = await ownerOf(queue)
            return {
              master,
              replicas: shuffled(await nodes.replicasOf(master)),
              promoted: () => nodes.promoted(master, slotOfQueue(queue)),
              restart: node => node.restart(),
              whole: () => nodes.whole(),
              needsAll: waitReplicas >= replicas && waitReplicas > 0,
            }
          }),
    linked: false,
    reach: () => ({
      env: { REDIS_CLUSTER: list(nodes.nodes.slice(0, 3)), WAIT_REPLICAS: `${waitReplicas}` },
    }),
    mayLose: waitReplicas < replicas,
    admin: async queue => adminOf(await ownerOf(queue)),
    admins: async () => Promise.all(QUEUES.map(async queue => adminOf(await ownerOf(queue)))),
    [Symbol.asyncDispose]: () => nodes[Symbol.asyncDispose](),
  }
}

/** How long the queues of the other masters may take to be served while one is frozen. */
const SERVED_WITHIN_MS = 15_000
/** A broker that is restarted meanwhile needs these. */
const NEEDED_AT_START = [QUEUE_NAMES, SCHEMA, DEFAULTS]

/** Freezes one master, and thaws it once each broker has served the queues of the others. Nothing is lost. */
function faultsWithoutReplicas(nodes: RedisCluster): Record<string, TargetFault> {
  const ownersOf = (keys: readonly string[]) =>
    Promise.all(keys.map(async key => (await nodes.owner(slotOf(key)))!))
  return {
    "master frozen, and nobody replaces it": {
      weight: 15,
      lasts: [0, 1_000],
      async run({ lastsMs, brokers }) {
        const needed = new Set(await ownersOf(NEEDED_AT_START))
        const owners = await ownersOf(PROBE_QUEUES.map(queue => `{${queue}}`))
        const at = owners.findIndex(node => !needed.has(node))
        const sick = owners[at]!
        sick.freeze()
        try {
          const healthy = PROBE_QUEUES.find((_, i) => owners[i] !== sick)!
          const served = brokers.map(url =>
            isServed(new Client({ url, token: TOKEN }), PROBE_QUEUES[at]!, healthy),
          )
          const unserved = (await Promise.all(served)).flatMap(fault => fault ?? [])
          await Bun.sleep(lastsMs)
          return { at: Date.now(), unserved }
        } finally {
          sick.thaw()
        }
      },
    },
  }
}

/** Repeats a poll and a submit for both queues until the healthy one is served. Returns what was not. */
async function isServed(client: Client, sick: string, healthy: string): Promise<string | undefined> {
  const tries: [what: string, call: () => Promise<unknown>][] = [
    ["a poll", () => client.lease({ queues: [sick, healthy] })],
    [
      "an array",
      async () => {
        const [, answer] = await client.submitMany([sick, healthy].map(queue => ({ ...PROBE, queue })))
        if (answer instanceof BrokerProblem && answer.retryable) throw answer
      },
    ],
    ["/readyz", () => client.readyz()],
  ]
  for (const [what, call] of tries) {
    const served = () =>
      call().then(
        () => true,
        () => false,
      )
    const failed = await until(what, served, SERVED_WITHIN_MS).catch(() => what)
    if (failed !== undefined) return `While a master is frozen, ${healthy} on another is not served: ${what}`
  }
  return undefined
}

const shuffled = <T>(all: readonly T[]): T[] =>
  all
    .map(each => ({ each, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ each }) => each)
