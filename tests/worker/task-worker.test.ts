/** The class Worker: its options, its end, and its health: what probes get, and when the broker counts as lost. */
import { expect, test } from "bun:test"
import { createLog } from "../../lib/log.ts"
import { BrokerContact } from "../../lib/worker/broker-contact.ts"
import { serveHealth } from "../../lib/worker/health.ts"
import { Worker } from "../../lib/worker/task-worker.ts"
import { FakeBroker } from "../support/fake-broker.ts"
import { freePort, until, workerProcess } from "../support/processes.ts"

/** A client whose requests the test answers, and a clock that the test moves. */
function scripted() {
  const requests: PromiseWithResolvers<never>[] = []
  const time = { ms: 5 }
  const work = () => {
    const request = Promise.withResolvers<never>()
    requests.push(request)
    return request.promise
  }
  const contact = new BrokerContact({ work }, () => time.ms)
  const send = (signal?: AbortSignal) =>
    contact.work({ worker: "w" }, signal && { signal }).catch(() => undefined)
  return { contact, time, send, requests }
}

test("the broker is lost when a request has waited 60 s for an answer, also if it was repeated", async () => {
  const { contact, time, send, requests } = scripted()
  const first = send()
  time.ms += 59_999
  expect([contact.isLost, contact.lastAnswerAt]).toEqual([false, undefined])
  requests[0]!.reject(new Error("no answer"))
  await first
  const second = send()
  time.ms += 1
  expect(contact.isLost).toBe(true)
  const before = Date.now()
  requests[1]!.resolve({} as never)
  await second
  expect([contact.isLost, contact.lastAnswerAt! >= before]).toEqual([false, true])
})

test("silence without a request is no fault, nor is a poll that the worker gave up", async () => {
  const { contact, time, send, requests } = scripted()
  const stop = new AbortController()
  const poll = send(stop.signal)
  stop.abort()
  requests[0]!.reject(new Error("aborted"))
  await poll
  time.ms += 3_600_000
  expect(contact.isLost).toBe(false)
})

test("an answer to one of two requests does not hide that the other waits", async () => {
  const { contact, time, send, requests } = scripted()
  const poll = send()
  const ack = send()
  time.ms += 30_000
  requests[1]!.resolve({} as never)
  await ack
  time.ms += 59_999
  expect(contact.isLost).toBe(false)
  time.ms += 1
  expect(contact.isLost).toBe(true)
  requests[0]!.resolve({} as never)
  await poll
  expect(contact.isLost).toBe(false)
})

test("a probe gets 200, or 503 if the broker is lost, with the last answer and the number of running tasks", async () => {
  const contact = { lastAnswerAt: 1_700_000_000_000, isLost: false }
  const { port, close } = await serveHealth({ port: 0, host: "127.0.0.1" }, contact, () => 3)
  const probe = async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`)
    return [answer.status, await answer.json()]
  }
  try {
    expect(await probe()).toEqual([200, { last_answer_at: 1_700_000_000_000, in_hand: 3 }])
    contact.isLost = true
    expect(await probe()).toEqual([503, { last_answer_at: 1_700_000_000_000, in_hand: 3 }])
  } finally {
    close()
  }
})

test("a worker serves its health while it runs, and nowhere by default", async () => {
  await using broker = new FakeBroker()
  const port = freePort()
  const release = Promise.withResolvers<void>()
  const options = {
    url: broker.url,
    token: "secret",
    handlers: { hold: () => release.promise },
    log: createLog("silent"),
  }
  const worker = new Worker({ ...options, health: { port, host: "127.0.0.1" } })
  const url = `http://127.0.0.1:${port}`
  broker.task({ type: "hold" })
  const ended = worker.run()
  const health = async () => (await fetch(url)).json() as Promise<Record<string, number>>
  await until(
    "the task runs",
    async () => ((await health().catch(() => ({}))) as Record<string, number>).in_hand === 1,
  )
  expect(Date.now() - (await health()).last_answer_at!).toBeWithin(0, 20_000)
  await expect(new Worker({ ...options, health: { port, host: "127.0.0.1" } }).run()).rejects.toThrow()
  release.resolve()
  expect([await worker.stop(), await ended]).toEqual([true, true])
  await expect(fetch(url)).rejects.toThrow()
})

test("worker.ts serves its health on HEALTH_PORT, and says if the port is in use", async () => {
  await using broker = new FakeBroker()
  const port = `${freePort()}`
  const env = { BROKER_URL: broker.url, API_SECRET_TOKEN: "secret", HOST: "127.0.0.1", HEALTH_PORT: port }
  await using worker = workerProcess(env)
  await worker.logged("The worker is ready")
  const answer = async () => (await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined))?.status
  await until("it answers", async () => (await answer()) === 200)
  await using second = workerProcess(env)
  expect(await second.ended()).toBe(1)
  expect(second.stderr).toContain(
    `Port ${port} is in use: stop the process that listens there, or set HEALTH_PORT`,
  )
  expect(await worker.stop()).toBe(0)
})

test("a wrong option of a worker is refused with what would be right", () => {
  const good = { url: "http://a", token: "t", handlers: { a: () => 1 } }
  for (const [wrong, message] of [
    [{ url: "localhost:5000" }, "url must be an address that begins with http:// or https://"],
    [{ token: "" }, "token must be printable ASCII"],
    [{ handlers: {} }, "handlers must map task types to functions"],
    [{ handlers: { a: 1 } }, "handlers must map task types to functions"],
    [{ queues: [] }, "queues must be 1 to 100 names"],
    [{ queues: ["a b"] }, "queues must be 1 to 100 names"],
    [{ name: ".." }, "name must have"],
    [{ concurrency: 0 }, "concurrency must be a whole number from 1 to 1000"],
    [{ concurrency: Number.NaN, url: "" }, "concurrency must"],
    [{ drainMs: -1 }, "drainMs must be"],
  ] as const)
    expect(() => new Worker({ ...good, ...wrong } as never)).toThrow(message)
})

test("a worker that never ran stops at once, and one that an operator drains ends its run", async () => {
  await using broker = new FakeBroker()
  const options = { url: broker.url, token: "secret", handlers: { a: () => 1 }, log: createLog("silent") }
  expect(await new Worker(options).stop()).toBe(true)
  broker.says.drain = true
  expect(await new Worker(options).run()).toBe(true)
})
