/**
 * All environment variables and what they mean. config.ts can read no other. README.md in this folder, `--help` and
 * .env.example use these texts; tests compare them.
 */
export const VARIABLES = {
  HOST: "Address to listen on.",
  PORT: "Port to listen on; 0 means any free port.",
  BROKERS: "Number of broker processes that share the port, 1 to 64; more than 1 requires Linux.",
  API_SECRET_TOKEN:
    "Broker: the token with all roles. Required with an external Redis unless API_TOKENS is set; with the embedded Redis the broker creates one. Worker: the token that it sends.",
  API_TOKENS:
    "Tokens with roles and queues, as name:roles:token or name:roles@queues:token, separated by commas.",
  API_TOKENS_FILE: "File that contains the tokens, in the format of API_TOKENS; replaces API_TOKENS.",
  REDIS_URL:
    "Address of an external Redis: redis://, rediss:// (TLS), unix:///path or /path. Without an address the broker runs an embedded Redis.",
  REDIS_HOST: "Host of Redis, instead of REDIS_URL.",
  REDIS_PORT: "Port of Redis, with REDIS_HOST.",
  REDIS_SENTINELS:
    "Sentinels as host:port, or rediss://host:port (TLS), separated by commas, instead of REDIS_URL.",
  REDIS_MASTER_NAME: "Name of the master that the Sentinels watch.",
  REDIS_SENTINEL_USERNAME: "User name for the Sentinels.",
  REDIS_SENTINEL_PASSWORD: "Password of the Sentinels.",
  REDIS_CLUSTER:
    "Some nodes of a Cluster as host:port, or rediss://host:port (TLS), separated by commas, instead of REDIS_URL.",
  REDIS_USERNAME: "User name, with REDIS_HOST, REDIS_SENTINELS or REDIS_CLUSTER.",
  REDIS_PASSWORD: "Password, with REDIS_HOST, REDIS_SENTINELS or REDIS_CLUSTER.",
  REDIS_TLS: "true: TLS to Redis, and to Sentinels. With REDIS_URL, write rediss:// instead.",
  REDIS_TLS_CA: "File with the certificate authority of Redis, if it is your own (PEM).",
  REDIS_TLS_CERT: "File with the client certificate, if Redis asks for one (PEM).",
  REDIS_TLS_KEY: "File with the key of REDIS_TLS_CERT (PEM).",
  REDIS_TLS_SERVER_NAME: "Name in the certificates of Redis, if it differs from the host of its address.",
  REDIS_NAT_MAP:
    "Addresses at which servers of Sentinels or a Cluster can be reached, if they differ from the announced ones: announced=reachable, each as host:port, separated by commas.",
  WAIT_REPLICAS: "Number of replicas that must confirm a change before the broker answers, 0 to 10.",
  REDIS_TIMEOUT_MS: "Time limit for a reply from Redis; replicas must confirm within half of it.",
  DATA_DIR: "Directory of the embedded Redis and of the token that the broker creates.",
  VISIBILITY_TIMEOUT_MS: "Duration of a lease, unless the task sets its own.",
  MAX_RETRIES: "How often a failed task is retried; the next failure makes it dead. A task may set its own.",
  MAX_CRASHES:
    "How often a task runs again after a lapsed lease; the next lapse makes it dead. A task may set its own.",
  DONE_RETENTION_MS: "How long a done or cancelled task is kept (one day).",
  DEAD_RETENTION_MS: "How long a dead task is kept (14 days).",
  DONE_RETENTION_COUNT:
    "Maximum number of done tasks, of done tasks with a result_ttl_ms, and of cancelled tasks, that a queue keeps.",
  DEAD_RETENTION_COUNT: "Maximum number of dead tasks that a queue keeps.",
  IDEMPOTENCY_TTL_MS: "How long a repeated submit gets the first answer again (one day).",
  BACKOFF_KIND:
    "Backoff before a failed or lapsed task runs again, unless the task sets its own: none, fixed or exponential.",
  BACKOFF_DELAY_MS: "Backoff before the first retry.",
  BACKOFF_MAX_MS: "Maximum backoff (one hour).",
  BACKOFF_JITTER: "true: a random backoff between 0 and the full one; false: the full one.",
  MAX_QUEUE_DEPTH:
    "Maximum number of waiting tasks per queue; beyond it a submit gets 429. 0 means no limit.",
  MAX_QUEUE_BYTES:
    "Maximum total size of the types and payloads of a queue's tasks that have not ended; beyond it a submit gets 429. 0 means no limit.",
  AUDIT_INTERVAL_MS: "Time between two audits (one hour); 0 means only on request.",
  MAX_BODY_BYTES: "Maximum size of a request body.",
  INSTALLATION:
    "Name of this installation, which the dashboard shows, and its color after a comma: red, orange, green, blue, purple or gray. For example Production,red.",
  PUBLIC_PATH:
    "Path under which a proxy serves the broker: /queue if the dashboard is at https://example.com/queue/dashboard.",
  METRICS_PUBLIC: "true: /metrics requires no token.",
  METRICS_PORT:
    "Port that serves only /metrics; with BROKERS, the first of one port per process. 0 means none.",
  TRACE_URL:
    "Address of a trace in your tracing system, with {trace_id} in place of its id, for links in the dashboard: https://jaeger.example/trace/{trace_id}.",
  SHUTDOWN_MS: "Time that running requests have to finish at shutdown.",
  BROKER_URL: "Address of the broker.",
  QUEUES: "Queues to poll, separated by commas, in this order.",
  HANDLERS: "Module that exports the handlers. Unset: only the built-in ones.",
  CONCURRENCY: "Maximum number of tasks that run at the same time.",
  WORKER_NAME: "Name of the worker in /status and /workers. Unset: host name, process id and a random part.",
  DRAIN_MS: "Time that running tasks have to finish at shutdown; then they are released.",
  HEALTH_PORT:
    "Port that answers health probes of the worker: 200, or 503 if a request has had no answer for 60 s. 0 means none.",
  OTEL_EXPORTER_OTLP_ENDPOINT:
    "Address of an OpenTelemetry collector, for example http://localhost:4318. Unset: no spans are created.",
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT:
    "Full address for spans, for example http://localhost:4318/v1/traces, instead of OTEL_EXPORTER_OTLP_ENDPOINT.",
  OTEL_SDK_DISABLED: "true: no spans are created.",
  OTEL_TRACES_EXPORTER: "none: no spans are created. otlp is the only exporter.",
  OTEL_EXPORTER_OTLP_PROTOCOL:
    "Only http/json is supported. With grpc no spans are sent, and a warning is logged.",
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "Protocol for spans, instead of OTEL_EXPORTER_OTLP_PROTOCOL.",
  OTEL_PROPAGATORS:
    "Only tracecontext (W3C) is supported; anything else is ignored, and a warning is logged.",
  OTEL_SERVICE_NAME: "Service name of the spans. Unset: task-queue-broker and task-queue-worker.",
  OTEL_TRACES_SAMPLER:
    "always_on, always_off or traceidratio; with the prefix parentbased_ the decision of the caller takes precedence.",
  OTEL_TRACES_SAMPLER_ARG: "Ratio of the traces to keep with traceidratio, 0 to 1.",
  LOG_LEVEL: "debug, info, warn, error or silent.",
} as const satisfies Record<string, string>

export type Variable = keyof typeof VARIABLES
