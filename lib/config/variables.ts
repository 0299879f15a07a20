/**
 * What each environment variable means, in the words of the README's table; lib/config/config.ts can read no other. `--help`
 * prints them, with the defaults that lib/config/config.ts has.
 */
export const VARIABLES = {
  HOST: "address to listen on",
  PORT: "port to listen on; 0: any that is free",
  BROKERS: "how many processes share the port, on Linux, 1 to 64: for more cores",
  API_SECRET_TOKEN:
    "of a broker: the token of all roles, needed with a Redis of yours where API_TOKENS is not set; with its own Redis it makes one. Of a worker: the token that it presents",
  API_TOKENS: 'tokens with roles and queues: see "Who may ask what"',
  API_TOKENS_FILE: "instead of API_TOKENS: a file with them",
  REDIS_URL: "redis://, rediss:// (TLS), unix:///path or /path; none: the broker runs its own",
  REDIS_HOST: "instead of REDIS_URL",
  REDIS_PORT: "with REDIS_HOST",
  REDIS_SENTINELS: "instead of REDIS_URL: Sentinels as host:port, divided by commas",
  REDIS_MASTER_NAME: "what they call the master",
  REDIS_SENTINEL_PASSWORD: "of the Sentinels",
  REDIS_CLUSTER: "instead of REDIS_URL: some nodes of a Cluster as host:port, divided by commas",
  REDIS_USERNAME: "with REDIS_HOST, REDIS_SENTINELS or REDIS_CLUSTER",
  REDIS_PASSWORD: "likewise",
  WAIT_REPLICAS: "how many replicas must have a change before it is answered, 0 to 10",
  REDIS_TIMEOUT_MS: "how long Redis may take to answer; its replicas, half of that",
  DATA_DIR: "where the broker's own Redis and its token are",
  VISIBILITY_TIMEOUT_MS: "how long a lease lasts, where a task does not say",
  MAX_RETRIES: "failures before a task is dead at the next, where a task does not say",
  MAX_CRASHES: "the same for leases that lapse",
  DONE_RETENTION_MS: "how long a done or cancelled task is kept (a day)",
  DEAD_RETENTION_MS: "how long a dead task is kept (14 days)",
  DONE_RETENTION_COUNT: "how many done, and as many cancelled, tasks a queue keeps at most",
  DEAD_RETENTION_COUNT: "how many dead tasks a queue keeps at most",
  IDEMPOTENCY_TTL_MS: "how long a repeated submit gets the first answer again (a day)",
  BACKOFF_KIND: "none, fixed or exponential: what a failed or lapsed task waits, where it does not say",
  BACKOFF_DELAY_MS: "before the first retry",
  BACKOFF_MAX_MS: "never longer (an hour)",
  BACKOFF_JITTER: "true: anything from 0 to that; false: just that",
  MAX_QUEUE_DEPTH: "how many tasks of a queue may wait, before submits get 429; 0: any number",
  MAX_QUEUE_BYTES: "how many bytes of payload the tasks of a queue that have not ended may hold; 0: any",
  AUDIT_INTERVAL_MS: "from one audit to the next (an hour); 0: only those that are asked for",
  MAX_BODY_BYTES: "the largest body",
  METRICS_PUBLIC: "true: /metrics needs no token",
  METRICS_PORT: "a port for /metrics alone; with BROKERS the first of as many, one each; 0: none",
  SHUTDOWN_MS: "how long requests may take to finish at the end",
  BROKER_URL: "where the broker is",
  QUEUES: "queues to work on, divided by commas, in this order",
  HANDLERS: "module with the handlers",
  CONCURRENCY: "tasks at a time",
  WORKER_NAME: "what /status shows as worker; none: host, process and a random part",
  DRAIN_MS: "how long running tasks may take at the end",
  OTEL_EXPORTER_OTLP_ENDPOINT:
    "a collector's address, as http://localhost:4318: spans are sent there; none: none are made",
  OTEL_SERVICE_NAME: "what they are sent as; none: task-queue-broker and task-queue-worker",
  OTEL_TRACES_SAMPLER:
    "always_on, always_off, traceidratio, or these after parentbased_: then what the caller has decided stands",
  OTEL_TRACES_SAMPLER_ARG: "with traceidratio: of how many traces, 0 to 1",
  LOG_LEVEL: "debug, info, warn, error or silent",
} as const satisfies Record<string, string>

export type Variable = keyof typeof VARIABLES
