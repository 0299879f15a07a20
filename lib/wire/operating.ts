/** Events, audits and browser sessions. */
import { type Static, Type } from "@sinclair/typebox"
import { EVENT_NAMES } from "./events.ts"
import { closed, QueueName, Queues, ROLES, TaskId } from "./fields.ts"

/** The id of an entry of a Redis stream. */
const EventId = Type.String({
  pattern: "^[0-9]{1,15}(-[0-9]{1,15})?$",
  description: "the id of an event: the stored events after it are sent first",
})

/** The query of GET /events. */
export const EventsQuery = Type.Object(
  {
    queue: Type.Optional({ ...Queues, description: "only events of these queues" }),
    task: Type.Optional({ ...TaskId, description: `${TaskId.description}; only events of this task` }),
    event: Type.Optional(
      Type.Array(Type.Union(EVENT_NAMES.map(name => Type.Literal(name))), {
        minItems: 1,
        maxItems: EVENT_NAMES.length,
        description: "only these events; `gap` and `skipped` are always sent",
      }),
    ),
    last_event_id: Type.Optional(EventId),
  },
  closed,
)

/** The query of POST /audit. */
export const AuditQuery = Type.Object(
  {
    queue: Type.Optional(QueueName),
    fix: Type.Optional(
      Type.Union([Type.Literal("true"), Type.Literal("false")], {
        description: "true: repair what is found (default false: only report)",
      }),
    ),
  },
  closed,
)

const AUDIT_FAULTS = [
  "not_listed",
  "no_lease",
  "no_due",
  "no_index",
  "no_expiry",
  "no_owner",
  "no_payload",
  "unreadable",
  "no_plan",
  "stray_entry",
  "no_turn",
  "stray_turn",
  "no_slot",
  "stray_slot",
  "wrong_count",
  "stray_payload",
  "stray_key",
  "wrong_bytes",
  "not_registered",
] as const

export type AuditFault = (typeof AUDIT_FAULTS)[number]

export const AuditAnswer = Type.Object({
  complete: Type.Boolean({ description: "false: the time limit was reached before everything was checked" }),
  looked: Type.Object(
    {
      queues: Type.Integer(),
      tasks: Type.Integer(),
      payloads: Type.Integer({ description: "payloads that are stored under a key of their own" }),
      unique_keys: Type.Integer(),
      entries: Type.Integer({ description: "entries of the sorted sets, and schedules" }),
    },
    { description: "how many of each were checked; a task that moves during the audit may count twice" },
  ),
  found: Type.Array(
    Type.Object({
      kind: Type.Union(AUDIT_FAULTS.map(fault => Type.Literal(fault))),
      count: Type.Integer(),
      mended: Type.Integer(),
      sample: Type.String({
        description: "an example: a task, a unique key, a schedule, a queue, or a priority and a group",
      }),
    }),
    { description: "the inconsistencies by kind; empty if there are none" },
  ),
})

export type AuditAnswer = Static<typeof AuditAnswer>

export const SignIn = Type.Object(
  { token: Type.String({ minLength: 1, maxLength: 2_000, description: "a token of this broker" }) },
  closed,
)

export const SessionView = Type.Object({
  name: Type.String({ description: "the name of the token" }),
  roles: Type.Array(Type.Union(ROLES.map(role => Type.Literal(role)))),
  queues: Type.Optional(
    Type.Array(QueueName, { description: "the queues that the token is bound to; absent: all" }),
  ),
  csrf: Type.Optional(
    Type.String({ description: "the value for X-CSRF-Token; absent if the request carried a token" }),
  ),
  expires_at: Type.Optional(Type.Integer({ description: "by the broker's clock" })),
  trace_url: Type.Optional(
    Type.String({ description: "the broker's TRACE_URL: a link to a trace, with {trace_id} for its id" }),
  ),
})

export type SessionView = Static<typeof SessionView>

export const SessionEnded = Type.Object({ status: Type.Literal("ended") })

export const Alive = Type.Object({ status: Type.Literal("ok") })

export type Alive = Static<typeof Alive>

/** What survives a power cut: the `appendfsync` of Redis. The weakest comes first. */
export const DURABILITIES = ["none", "no", "unknown", "everysec", "always"] as const

export const Ready = Type.Object({
  status: Type.Literal("ready"),
  redis: Type.String({ description: "the version of Redis" }),
  durability: Type.Union(
    DURABILITIES.map(durability => Type.Literal(durability)),
    {
      description:
        "the current `appendfsync` of Redis; none: no append-only file; unknown: Redis does not report it",
    },
  ),
  maxmemory_policy: Type.String(),
  topology: Type.Union(["single", "sentinel", "cluster"].map(word => Type.Literal(word))),
  replicas: Type.Integer({
    description: "connected replicas; in a Cluster: of the master that has the fewest",
  }),
  wait_replicas: Type.Integer({
    description: "how many replicas must confirm a change before the broker answers",
  }),
  degraded: Type.Optional(
    Type.Array(Type.String(), {
      description:
        "what cannot be served now, with the reason: new tasks, or the queues of a node of a Cluster",
    }),
  ),
})
export type Ready = Static<typeof Ready>
