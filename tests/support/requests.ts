/** HTTP requests to a test broker, and what every error answer must contain. */
import { expect } from "bun:test"
import { connect } from "node:net"
import { CODES } from "../../lib/wire/problem.ts"
import type { TestBroker } from "../support/harness.ts"

export type Body = Record<string, unknown>

/** A well-formed lease token that no broker has issued. */
export const FORGED_LEASE = `1.${"x".repeat(22)}`

/** Checks the members that every error answer must have, and returns its body. */
export async function problem(answer: Response | Promise<Response>): Promise<Body & { code: string }> {
  const response = await answer
  expect(response.headers.get("content-type")).toBe("application/problem+json")
  const body = (await response.json()) as Body & { code: string }
  expect(body.status).toBe(response.status)
  expect(body.error).toBeString()
  expect(body.title).toBeString()
  expect(CODES as readonly string[]).toContain(body.code)
  if (response.status === 503) expect(response.headers.get("retry-after")).toMatch(/^[1-9]\d*$/)
  return body
}

export const post = (broker: TestBroker, path: string, body: unknown, headers: Record<string, string> = {}) =>
  broker.call("POST", path, body, { headers })

export const answered = async (answer: Promise<Response>) => (await (await answer).json()) as Body

export async function submitted(broker: TestBroker, task: unknown): Promise<string> {
  const answer = await post(broker, "/submit", task)
  if (answer.status !== 200) throw new Error(await answer.text())
  return ((await answer.json()) as { task_id: string }).task_id
}

/** Sends exactly these bytes and returns the answer, for requests that fetch would not send. */
export function raw(broker: TestBroker, bytes: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let text = ""
  const socket = connect(Number(new URL(broker.url).port), "127.0.0.1", () => socket.write(bytes))
  socket.setTimeout(20_000, () => socket.destroy(new Error(`no answer to ${JSON.stringify(bytes)}`)))
  socket.on("data", data => {
    text += data
    socket.end()
  })
  socket.on("error", reject)
  socket.on("close", () => resolve(text))
  return promise
}

/** Whether the text of an answer contains this member with exactly this JSON text as its value. */
export const hasMember = (text: string, member: string, value: string) =>
  text.includes(`"${member}":${value}`)
