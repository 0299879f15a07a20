/** `rediss://`: a broker process and a Redis that accepts only TLS, with a self-signed certificate. */
import { expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { freePort, startBroker } from "../support/processes.ts"

const options = (dashes: string, values: Record<string, string>) =>
  Object.entries(values).flatMap(([name, value]) => [dashes + name, value])

/** A Redis with a self-signed certificate for 127.0.0.1. */
async function tlsRedis() {
  const dir = await mkdtemp("/tmp/tq-tls-")
  const made = Bun.spawnSync([
    "openssl",
    "req",
    "-x509",
    "-nodes",
    ...options("-", {
      newkey: "ec",
      pkeyopt: "ec_paramgen_curve:prime256v1",
      days: "2",
      keyout: `${dir}/key.pem`,
      out: `${dir}/cert.pem`,
      subj: "/CN=redis",
      addext: "subjectAltName=IP:127.0.0.1",
    }),
  ])
  if (!made.success) throw new Error(made.stderr.toString())
  const port = freePort()
  const server = Bun.spawn(
    [
      "redis-server",
      ...options("--", {
        port: "0",
        "tls-port": String(port),
        bind: "127.0.0.1",
        save: "",
        "tls-cert-file": `${dir}/cert.pem`,
        "tls-key-file": `${dir}/key.pem`,
        "tls-ca-cert-file": `${dir}/cert.pem`,
        "tls-auth-clients": "no",
        dir,
      }),
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  )
  return {
    url: `rediss://127.0.0.1:${port}`,
    certificate: `${dir}/cert.pem`,
    async [Symbol.asyncDispose]() {
      server.kill("SIGKILL")
      await server.exited
      await rm(dir, { recursive: true })
    },
  }
}

test("a broker works over rediss://, and refuses a certificate that it does not trust", async () => {
  await using redis = await tlsRedis()
  await expect(startBroker(redis.url)).rejects.toThrow(/certificate/i)
  await using broker = await startBroker(redis.url, { NODE_EXTRA_CA_CERTS: redis.certificate })
  const { task_id } = await broker.client.submit({ type: "t" })
  const { tasks } = await broker.client.lease()
  expect(tasks).toMatchObject([{ id: task_id }])
})
