/** The brokers that share a Redis, and the memory of that Redis. */
import { type Static, Type } from "@sinclair/typebox"

export const BrokerView = Type.Object({
  broker: Type.String({ description: "identifies this run of the broker, as in the events `counts`" }),
  host: Type.String(),
  pid: Type.Integer(),
  version: Type.String(),
  started_at: Type.Integer(),
  seen_at: Type.Integer({
    description: "when it last recorded that it is running, which it does every 10 s",
  }),
})

export type BrokerView = Static<typeof BrokerView>

export const BrokersAnswer = Type.Object({
  broker: Type.String({ description: "the broker that answers" }),
  brokers: Type.Array(BrokerView, { description: "all brokers that were seen in the last 30 s" }),
  redis_memory: Type.Object(
    {
      used_bytes: Type.Integer({ description: "0: Redis does not report it" }),
      max_bytes: Type.Integer({ description: "`maxmemory`; 0: no limit" }),
    },
    { description: "the memory of Redis; in a Cluster the sum over its masters" },
  ),
})

export type BrokersAnswer = Static<typeof BrokersAnswer>
