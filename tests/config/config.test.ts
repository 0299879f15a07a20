/** Configuration read from environment variables: defaults, and every fault at once. */
import { expect, test } from "bun:test"
import { readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import { ConfigError, type Env } from "../../lib/config/reader.ts"

function problems(read: (env: Env) => unknown, env: Env): readonly string[] {
  try {
    read(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

test("TRACE_URL is the address of a web page with a place for the id of the trace", () => {
  const read = (TRACE_URL: string) => readBrokerConfig({ TRACE_URL }).traceUrl
  for (const url of ["https://jaeger.example/trace/{trace_id}", "http://t/?id={trace_id}#a"])
    expect(read(url)).toBe(url)
  expect(read("")).toBeUndefined()
  for (const url of ["https://jaeger.example/trace/", "javascript:alert('{trace_id}')", "jaeger/{trace_id}"])
    expect(() => read(url)).toThrow(/^.*TRACE_URL/s)
})

test("without settings a broker has its defaults, the embedded Redis and the token that it creates", () => {
  expect(readBrokerConfig({})).toMatchObject({
    port: 5000,
    redisUrl: undefined,
    apiToken: undefined,
    dataDir: ".data",
    visibilityTimeoutMs: 30_000,
    maxRetries: 3,
    maxCrashes: 3,
    doneRetentionMs: 86_400_000,
    deadRetentionMs: 14 * 86_400_000,
    maxBodyBytes: 1_048_576,
    logLevel: "info",
  })
})

test("without settings a worker uses the broker on its machine", () => {
  expect(readWorkerConfig({})).toMatchObject({
    brokerUrl: "http://localhost:5000",
    apiToken: undefined,
    queues: ["default"],
    concurrency: 10,
    handlers: undefined,
    drainMs: 20_000,
    logLevel: "info",
  })
})

test("configuration is frozen, and the same for the same variables", () => {
  const env = { PORT: "1", API_SECRET_TOKEN: "t", REDIS_URL: "redis://h" }
  expect(readBrokerConfig(env)).toEqual(readBrokerConfig(env))
  expect(Object.isFrozen(readBrokerConfig(env))).toBeTrue()
  expect(Object.isFrozen(readWorkerConfig({}))).toBeTrue()
  expect(env).toEqual({ PORT: "1", API_SECRET_TOKEN: "t", REDIS_URL: "redis://h" })
})

test("an empty variable counts as unset", () => {
  const empty = {
    PORT: "",
    REDIS_URL: "",
    REDIS_HOST: "",
    API_SECRET_TOKEN: "",
    LOG_LEVEL: "",
    QUEUES: "",
    BROKER_URL: "",
  }
  expect(readBrokerConfig(empty)).toEqual(readBrokerConfig({}))
  expect(readWorkerConfig(empty)).toEqual(readWorkerConfig({}))
})

test("all invalid variables of a broker are listed at once, each with what is valid", () => {
  const found = problems(readBrokerConfig, {
    PORT: "65536",
    REDIS_HOST: "x",
    REDIS_PORT: "0",
    API_SECRET_TOKEN: "two words",
    VISIBILITY_TIMEOUT_MS: "99",
    MAX_RETRIES: "-1",
    MAX_CRASHES: "1.5",
    DONE_RETENTION_MS: "1d",
    DEAD_RETENTION_MS: "1e3",
    MAX_BODY_BYTES: "1",
    SHUTDOWN_MS: " 5",
    REDIS_TIMEOUT_MS: "0x100",
    LOG_LEVEL: "loud",
  })
  expect(found.map(line => line.split(" ")[0]).sort()).toEqual(
    [
      "API_SECRET_TOKEN",
      "DEAD_RETENTION_MS",
      "DONE_RETENTION_MS",
      "LOG_LEVEL",
      "MAX_BODY_BYTES",
      "MAX_CRASHES",
      "MAX_RETRIES",
      "PORT",
      "REDIS_PORT",
      "REDIS_TIMEOUT_MS",
      "SHUTDOWN_MS",
      "VISIBILITY_TIMEOUT_MS",
    ].sort(),
  )
  expect(found).toContain("PORT must be a whole number from 0 to 65535")
  expect(found).toContain("LOG_LEVEL must be one of debug, info, warn, error, silent")
  expect(new ConfigError(found).message.split("\n")).toHaveLength(found.length + 1)
})

test("a port that Kubernetes sets for a Service counts as unset", () => {
  const names = ["PORT", "REDIS_PORT", "METRICS_PORT", "BROKER_PORT", "WORKER_PORT", "HEALTH_PORT"]
  for (const protocol of ["tcp", "udp", "sctp"]) {
    const links = Object.fromEntries(names.map(name => [name, `${protocol}://10.96.0.12:7000`]))
    const more = {
      REDIS_SERVICE_HOST: "10.96.0.12",
      REDIS_SERVICE_PORT: "7000",
      REDIS_PORT_6379_TCP: "tcp://x",
    }
    const env = { ...links, ...more }
    expect(readBrokerConfig(env)).toEqual(readBrokerConfig({}))
    expect(readWorkerConfig(env)).toEqual(readWorkerConfig({}))
    const own = { API_SECRET_TOKEN: "t", REDIS_HOST: "h" }
    expect(readBrokerConfig({ ...own, ...env })).toEqual(readBrokerConfig(own))
  }
})

test("REDIS_PORT is checked only if it is used", () => {
  for (const REDIS_PORT of ["tcp://10.96.0.12:6379", "x", "0"]) {
    expect(problems(readBrokerConfig, { REDIS_PORT })).toEqual([])
    for (const address of [
      { REDIS_URL: "redis://h" },
      { REDIS_URL: "redis://h", REDIS_HOST: "other" },
      { REDIS_SENTINELS: "h" },
      { REDIS_CLUSTER: "h" },
    ])
      expect(problems(readBrokerConfig, { API_SECRET_TOKEN: "t", REDIS_PORT, ...address })).toEqual([])
  }
  expect(
    problems(readBrokerConfig, { API_SECRET_TOKEN: "t", REDIS_HOST: "h", REDIS_PORT: "x" }),
  ).toHaveLength(1)
})

test("an address that the user sets is not mistaken for one that Kubernetes sets", () => {
  const REDIS_URL = "tcp://10.96.0.12:6379"
  expect(problems(readBrokerConfig, { API_SECRET_TOKEN: "t", REDIS_URL })).toHaveLength(1)
  expect(problems(readWorkerConfig, { BROKER_URL: REDIS_URL })).toHaveLength(1)
})

test("all invalid variables of a worker are listed at once", () => {
  const found = problems(readWorkerConfig, {
    BROKER_URL: "localhost:5000",
    API_SECRET_TOKEN: "tökén",
    QUEUES: "a,b c",
    WORKER_NAME: "a/b",
    CONCURRENCY: "0",
    DRAIN_MS: "-1",
    LOG_LEVEL: "LOUD",
  })
  expect(found.map(line => line.split(" ")[0]).sort()).toEqual(
    [
      "API_SECRET_TOKEN",
      "BROKER_URL",
      "CONCURRENCY",
      "DRAIN_MS",
      "LOG_LEVEL",
      "QUEUES",
      "WORKER_NAME",
    ].sort(),
  )
})

test("error messages do not contain secrets", () => {
  const secret = { API_SECRET_TOKEN: "s3cret token", REDIS_URL: "http://user:s3cret@host" }
  for (const line of problems(readBrokerConfig, secret)) expect(line).not.toContain("s3cret")
})

test("an external Redis requires a configured token", () => {
  for (const env of [{ REDIS_URL: "redis://h" }, { REDIS_HOST: "h" }])
    expect(problems(readBrokerConfig, env)).toEqual([
      expect.stringMatching(/^API_SECRET_TOKEN or API_TOKENS must be set .*openssl rand/),
    ])
})

test("the address of Redis may be a URL, a socket, or a host as in the original system", () => {
  const url = (env: Env) => readBrokerConfig({ API_SECRET_TOKEN: "t", ...env }).redisUrl
  expect(url({ REDIS_HOST: "h" })).toBe("redis://h:6379")
  expect(url({ REDIS_HOST: "h", REDIS_PORT: "1" })).toBe("redis://h:1")
  expect(url({ REDIS_HOST: "h", REDIS_URL: "rediss://other" })).toBe("rediss://other")
  expect(url({ REDIS_URL: "/run/redis.sock" })).toBe("/run/redis.sock")
  expect(url({ REDIS_URL: "unix:///run/redis.sock" })).toBe("unix:///run/redis.sock")
})

test("queue names are separated by commas, with optional spaces", () => {
  expect(readWorkerConfig({ QUEUES: "a, b ,c" }).queues).toEqual(["a", "b", "c"])
  for (const QUEUES of [",", "a,", "a,,b", Array(101).fill("a").join(",")])
    expect(problems(readWorkerConfig, { QUEUES })).toHaveLength(1)
})

/** Faults of REDIS_URL with this value. */
const urlFaults = (REDIS_URL: string) => problems(readBrokerConfig, { API_SECRET_TOKEN: "t", REDIS_URL })

test.each([
  "redis://:p@ss/w#rd@host",
  "redis://:p@ss@host/w#rd",
  "redis://:pa/ss@host:6379",
  "redis://user:12/34@host",
  "redis://user:12?34@host",
  "redis://user:12#34@host",
  "redis://:p#ss@host",
  "redis://:p?ss@host",
  "redis://:50%@host",
  "redis://:p@ss/word",
])("special characters in the password of %s are explained, and no piece of it is shown", address => {
  const [fault, ...others] = urlFaults(address)
  expect(others).toEqual([])
  expect(fault).toStartWith("REDIS_URL must ")
  expect(fault).toContain("percent-encoded")
  for (const piece of ["p@ss", "w#rd", "ss/", "12", "34", "50%"]) expect(fault).not.toContain(piece)
})

test.each([
  "redis://host/abc",
  "redis://host/0x1",
  "redis://host/-1",
  "redis://host/1/2",
  "redis://host//",
  "redis://host?db=abc",
  "rediss://host/prod",
  "unix:///run/redis.sock?db=x",
])("the database in %s is refused, because Redis numbers its databases", address => {
  expect(urlFaults(address)).toEqual([expect.stringMatching(/^REDIS_URL must .*number of a database/)])
})

test.each([
  "redis://host",
  "redis://host/",
  "redis://host/3",
  "redis://host/3/",
  "redis://host?db=5",
  "redis://:p%40ss%2Fw%23rd@host:6379/0",
  "redis://user:p@ss@host",
  "rediss://user:a:b@host/1",
  "redis://[::1]:6379/1",
  "unix:///run/redis.sock?db=2",
  "/run/redis.sock",
])("%s is accepted", address => {
  expect(urlFaults(address)).toEqual([])
})

test("TLS to Redis: by REDIS_TLS or rediss://, for every kind of address", () => {
  const tls = (env: Env) => readBrokerConfig({ API_SECRET_TOKEN: "t", ...env }).redisTls !== undefined
  for (const name of ["REDIS_SENTINELS", "REDIS_CLUSTER", "REDIS_HOST"]) {
    expect(tls({ [name]: "a" })).toBeFalse()
    expect(tls({ [name]: "a", REDIS_TLS: "false" })).toBeFalse()
    expect(tls({ [name]: "a", REDIS_TLS: "true" })).toBeTrue()
  }
  expect(readBrokerConfig({ API_SECRET_TOKEN: "t", REDIS_HOST: "h", REDIS_TLS: "true" }).redisUrl).toBe(
    "rediss://h:6379",
  )
  const nodes = [
    { host: "a", port: 1 },
    { host: "::1", port: 6379 },
  ]
  const config = readBrokerConfig({ API_SECRET_TOKEN: "t", REDIS_CLUSTER: "rediss://a:1, [::1]" })
  expect([config.redisCluster, config.redisTls !== undefined]).toEqual([nodes, true])
  expect([tls({ REDIS_URL: "rediss://h", REDIS_TLS: "true" }), tls({ REDIS_URL: "redis://h" })]).toEqual([
    true,
    false,
  ])
})

test("files and names for TLS: what is missing, unreadable or without use is said", () => {
  const faults = (env: Env) => problems(readBrokerConfig, { API_SECRET_TOKEN: "t", ...env })
  const cluster = { REDIS_CLUSTER: "a", REDIS_TLS: "true" }
  expect(faults({ REDIS_TLS: "true" })).toEqual([
    expect.stringMatching(/^REDIS_TLS requires an external Redis/),
  ])
  expect(faults({ REDIS_URL: "redis://h", REDIS_TLS: "true" })).toEqual([
    "REDIS_TLS is true, but REDIS_URL does not begin with rediss://: write rediss:// there, or unset REDIS_TLS",
  ])
  expect(faults({ ...cluster, REDIS_TLS: "1" })).toEqual(["REDIS_TLS must be one of true, false"])
  expect(faults({ ...cluster, REDIS_TLS_CA: "/none/ca.pem" })).toEqual([
    "the file that REDIS_TLS_CA names cannot be read: ENOENT",
  ])
  expect(faults({ ...cluster, REDIS_TLS_CA: import.meta.path })).toEqual([])
  expect(faults({ ...cluster, REDIS_TLS_CA: `${import.meta.dir}/../../package.json` })).toEqual([
    "REDIS_TLS_CA must name a file in PEM format, which has a line -----BEGIN ...-----",
  ])
  expect(faults({ ...cluster, REDIS_TLS_CERT: import.meta.path })).toEqual([
    "REDIS_TLS_CERT and REDIS_TLS_KEY must be set together: a certificate needs its key",
  ])
  expect(faults({ REDIS_CLUSTER: "a", REDIS_TLS_SERVER_NAME: "b" })).toEqual([
    expect.stringMatching(/^REDIS_TLS_CA, .* require TLS: set REDIS_TLS=true/),
  ])
  expect(faults({ REDIS_CLUSTER: "redis://a,rediss://b" })).toEqual([
    "REDIS_CLUSTER must use either redis:// or rediss:// (TLS) for all addresses",
  ])
  expect(faults({ REDIS_CLUSTER: "rediss://user:secret@a" })).toEqual([
    expect.stringMatching(
      /^REDIS_CLUSTER must be addresses of the form host:port, or rediss:.* REDIS_USERNAME and REDIS_PASSWORD$/,
    ),
  ])
})

test("REDIS_NAT_MAP maps announced to reachable addresses", () => {
  const map = (REDIS_NAT_MAP: string) =>
    readBrokerConfig({ API_SECRET_TOKEN: "t", REDIS_CLUSTER: "a", REDIS_NAT_MAP }).redisNatMap
  expect(map("10.0.0.5:6379=redis.example:7001, [::1]:2=b:3")).toEqual({
    "10.0.0.5:6379": { host: "redis.example", port: 7001 },
    "::1:2": { host: "b", port: 3 },
  })
  for (const wrong of ["a:1", "a:1=b", "a=b:1", "a:1=b:2=c:3", "a:1=b:70000", ","])
    expect(() => map(wrong)).toThrow(/REDIS_NAT_MAP must be pairs of addresses/)
})

test("REDIS_HOST is a host, not an address with a scheme, a port or a path", () => {
  const url = (REDIS_HOST: string) => {
    const env = { API_SECRET_TOKEN: "t", REDIS_HOST }
    return problems(readBrokerConfig, env)[0] ?? readBrokerConfig(env).redisUrl
  }
  for (const host of ["redis://h", "h/1", "h:6379", "u:p@h", "a b"])
    expect(url(host)).toStartWith("REDIS_HOST must")
  expect(url("::1")).toBe("redis://[::1]:6379")
  expect(url("10.0.0.1")).toBe("redis://10.0.0.1:6379")
  expect(url("my_redis.internal")).toBe("redis://my_redis.internal:6379")
})

test("INSTALLATION is a name with a color, which is gray if none is given", () => {
  const read = (INSTALLATION: string) => readBrokerConfig({ INSTALLATION }).installation
  expect(read("Production,red")).toEqual({ name: "Production", color: "red" })
  expect(read(" EU west 1 , blue")).toEqual({ name: "EU west 1", color: "blue" })
  expect(read("staging")).toEqual({ name: "staging", color: "gray" })
  expect(read("")).toBeUndefined()
  for (const wrong of [",red", "a,pink", "a,red,blue", "a,", "x".repeat(41), "a\u001bb", " ,red", "a\u202eb"])
    expect(problems(readBrokerConfig, { INSTALLATION: wrong })).toEqual([
      "INSTALLATION must be a name of 1 to 40 characters, which may be followed by a comma and a color: red, orange, green, blue, purple, gray",
    ])
})
