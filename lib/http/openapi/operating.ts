/** Prose and examples of the routes for events, audits, metrics, sessions and health checks. */
import { EventsQuery } from "../../wire/operating.ts"
import { rejectCrossOrigin, requireCsrf } from "../browser-session.ts"
import { requireReady } from "../operating.ts"
import { badBody, badQuery, factsOf, ID, NOW, type ProseOf, SESSION } from "./prose.ts"

const fromAnotherSite = new Request("http://localhost", { headers: { "sec-fetch-site": "cross-site" } })
const OTHER_ORIGIN = { forbidden: factsOf(() => rejectCrossOrigin(fromAnotherSite)) }
const withoutCsrf = () => requireCsrf(new Request("http://localhost"), { csrf: SESSION.csrf! })
const FEW_REPLICAS = { maxmemoryPolicy: "noeviction", replicas: 0, waitReplicas: 1 }
const EVICTING = { maxmemoryPolicy: "allkeys-lru", replicas: 0, waitReplicas: 0 }
const AUDITED = { queues: 1, tasks: 5_000, payloads: 12, unique_keys: 3, entries: 4_100 }

export const operating: ProseOf<"operating"> = {
  listenEvents: {
    description:
      "Sends server-sent events until the client disconnects: new ones, preceded by the stored ones after the event that `Last-Event-ID` or " +
      "`last_event_id` names, if any. The protocol document lists the events. If events may be missing, the stream has a `gap`: read " +
      "the current state again. A broker serves up to 200 clients; it disconnects a client that does not read. With a token " +
      "that is bound to queues, only events of these queues are sent.",
    query: { queue: ["mail"], event: ["done", "dead"] },
    parameters: [
      {
        name: "Last-Event-ID",
        in: "header",
        description: "replaces `last_event_id`; browsers send it when they reconnect",
        schema: { type: "string", pattern: EventsQuery.properties.last_event_id.pattern },
        example: "1764000000000-0",
      },
    ],
    answers: {
      200: {
        description: "The events, each with an id, a name and JSON data.",
        examples: {
          one: `id: ${NOW}-0\nevent: dead\ndata: {"at":${NOW},"queue":"mail","task_id":"mail:${ID}","attempt":4,"reason":"failed"}\n\n`,
        },
      },
    },
    problems: {
      bad_request: badQuery("listenEvents", "queue=*"),
      overloaded: {
        detail: "This broker already has 200 event streams: use another broker.",
      },
    },
  },

  listActions: {
    description:
      "The newest 1,000 actions of operators, from all brokers: pauses, settings, purges, retries, drains, schedules and repairs, " +
      "each with the name of the token. Cancelling a task and running a schedule by hand are listed only if the token has the role " +
      "`operate`. With `queue`, or with a token that is bound to queues, only actions that name one of these queues are shown. If the answer " +
      "has a `next`, repeat the call with it as `cursor` and the same filter.",
    query: { queue: "mail", by: "ops", action: "pauseQueue" },
    answers: {
      200: {
        description: "A page of actions.",
        examples: {
          page: {
            actions: [
              {
                id: `${NOW}-0`,
                at: NOW,
                by: "ops",
                action: "setQueueSettings",
                queues: ["mail"],
                request_id: "k3x9fa-1c",
                details: { before: {}, after: { concurrency: 10 } },
              },
            ],
            next: `${NOW}-0`,
          },
        },
      },
    },
    problems: { bad_request: badQuery("listActions", "limit=0") },
  },

  listBrokers: {
    description:
      "Each broker records every 10 s that it is running, and deletes this record when it stops. If it is killed or hangs, the record " +
      "expires after 30 s.",
    answers: {
      200: {
        description: "The brokers, the longest running first.",
        examples: {
          one: {
            broker: "9f2c41d0",
            brokers: [
              {
                broker: "9f2c41d0",
                host: "box-1",
                pid: 812,
                version: "0.1.0",
                started_at: NOW - 3_600_000,
                seen_at: NOW - 4_000,
              },
            ],
            redis_memory: { used_bytes: 48_300_120, max_bytes: 0 },
          },
        },
      },
    },
  },

  audit: {
    description:
      "Checks that every task, index entry, payload and unique key is consistent, and reports what is not. After a partial " +
      "restore of Redis, a task may be in no list and would wait forever; with `fix=true` the audit repairs it, each repair in " +
      "one atomic step with its check. Brokers run audits every AUDIT_INTERVAL_MS. A call takes at most 20 s: if `complete` is " +
      "false, it did not check everything. Safe at any time. The body is not read.",
    query: { queue: "default", fix: "true" },
    answers: {
      200: {
        description:
          "What was checked and what was found. If `mended` is below `count`, not everything was repaired.",
        examples: {
          "no faults": { complete: true, looked: AUDITED, found: [] },
          repaired: {
            complete: true,
            looked: AUDITED,
            found: [{ kind: "not_listed", count: 2, mended: 2, sample: ID }],
          },
        },
      },
    },
    problems: { bad_request: badQuery("audit", "fix=1") },
  },

  metrics: {
    description:
      "The content of the queues (the first 1,000 by name) and the counters of this broker since its start, in the text format " +
      "of Prometheus. Redis is read at most once per second; while it is unavailable, `tq_redis_up` is 0 and the queues are left " +
      "out. With METRICS_PUBLIC=true no token is needed. A token that is bound to queues is refused.",
    answers: {
      200: {
        description: "The metrics.",
        examples: {
          part: '# HELP tq_tasks Tasks in Redis, for the first 1,000 queues.\n# TYPE tq_tasks gauge\ntq_tasks{queue="default",state="queued"} 3\n',
        },
      },
    },
  },

  signIn: {
    description:
      "For browsers; the dashboard uses it. The cookie replaces the token on every route, for 12 hours or until the broker no " +
      "longer knows the token. Scripts cannot read the cookie, and other sites cannot make the browser send it. A request that " +
      "changes something also needs `csrf` in the header X-CSRF-Token.",
    body: { token: { token: "0f3a5e889c1d4b7a" } },
    answers: {
      200: {
        description: "The name and the roles of the token. The cookie is in Set-Cookie.",
        headers: { "Set-Cookie": { description: "the session cookie", schema: { type: "string" } } },
        examples: { "a token for one queue": SESSION },
      },
    },
    problems: {
      ...OTHER_ORIGIN,
      bad_request: badBody("signIn", {}),
    },
    advice: {
      401: "The broker does not know this token. Send the API_SECRET_TOKEN of the broker, or one of its API_TOKENS.",
      403: "A page of another origin sent the request.",
    },
  },

  whoAmI: {
    description:
      "Shows the name, the roles and the queues of the token or the cookie that the request carries.",
    answers: {
      200: {
        description: "The caller.",
        examples: { session: SESSION, token: { name: "ci", roles: ["submit"] } },
      },
      204: { description: "The request carries neither a token nor a cookie: ask for a token." },
    },
    problems: OTHER_ORIGIN,
    advice: {
      401: "The session has ended, or the broker does not know the token.",
      403: "A page of another origin sent the request.",
    },
  },

  signOut: {
    description:
      "Deletes the cookie in the browser. Like every change with a cookie, it needs X-CSRF-Token, but not if the cookie is no " +
      "longer valid. The token stays valid.",
    answers: { 200: { description: "The cookie is deleted.", examples: { ended: { status: "ended" } } } },
    problems: { forbidden: factsOf(withoutCsrf) },
  },

  health: {
    description: "Does not access Redis. If there is no answer, restart the broker.",
    answers: { 200: { description: "The process is alive.", examples: { alive: { status: "ok" } } } },
  },

  ready: {
    description:
      "Checks Redis. Send requests to a broker while this answers 200. `durability` says what survives a power failure, and " +
      "`wait_replicas` what survives a failover.",
    answers: {
      200: {
        description: "The broker can do its work.",
        examples: {
          ready: {
            status: "ready",
            redis: "7.0.15",
            durability: "always",
            maxmemory_policy: "noeviction",
            topology: "sentinel",
            replicas: 2,
            wait_replicas: 1,
          },
        },
      },
    },
    problems: {
      not_replicated: factsOf(() => requireReady(FEW_REPLICAS)),
      not_ready: factsOf(() => requireReady(EVICTING)),
    },
    advice: { 503: "Send requests to another broker, and check Redis." },
  },
}
