/** A client of /events, and the requests that cause events. */
import { expect } from "bun:test"
import type { EventData } from "../../lib/wire/events.ts"
import { type ReadEvent, readEvents } from "../../lib/wire/sse.ts"
import { type TestBroker, TOKEN, until } from "./harness.ts"

/** A client of /events, with what it has received so far. */
export async function subscribe(url: string, query = "", headers: Record<string, string> = {}) {
  const leave = new AbortController()
  const answer = await fetch(`${url}/events?${query}`, {
    headers: { "x-api-token": TOKEN, ...headers },
    signal: leave.signal,
  })
  expect(answer.status).toBe(200)
  const heard: ReadEvent[] = []
  const subscribe = { heard, answer, text: "", ended: false, names, of, last, until: untilHeard, leave: end }
  const read = async () => {
    for await (const event of readEvents(tee())) heard.push(event)
  }
  async function* tee() {
    for await (const chunk of answer.body!) {
      subscribe.text += new TextDecoder().decode(chunk)
      yield chunk
    }
  }
  const reading = read()
    .catch(() => {})
    .then(() => {
      subscribe.ended = true
    })
  function names(): string[] {
    return of().map(({ event }) => event)
  }
  /** The events with data, without `counts` and `listening`. */
  function of(...events: string[]): (EventData & { event: string })[] {
    const wanted = (event: string) =>
      events.length > 0 ? events.includes(event) : event !== "counts" && event !== "listening"
    return heard
      .filter(({ event, data }) => data !== "" && wanted(event))
      .map(({ event, data }) => ({ event, ...JSON.parse(data) }))
  }
  function last(): string {
    return heard.findLast(({ id }) => id !== undefined)!.id!
  }
  function untilHeard(event: string, times = 1) {
    return until(`${event} is received ${times} times`, () => of(event).length >= times)
  }
  async function end() {
    leave.abort()
    await reading
  }
  await untilHeard("listening")
  return {
    ...subscribe,
    get ended() {
      return subscribe.ended
    },
    get text() {
      return subscribe.text
    },
    [Symbol.asyncDispose]: end,
  }
}

const json = async (answer: Response) => (await answer.json()) as Record<string, string>
export const submit = async (broker: TestBroker, queue: string, more: object = {}) =>
  (await json(await broker.call("POST", "/submit", { type: "a", queue, ...more }))).task_id!
export async function lease(broker: TestBroker, queue: string, worker = "w1") {
  const answer = await broker.call("POST", "/lease", { queues: [queue], worker })
  const { tasks } = (await answer.json()) as { tasks: { id: string; lease: string }[] }
  return { task_id: tasks[0]!.id, lease: tasks[0]!.lease }
}
