/**
 * Schedules during a run: each fires every second, whatever happens, and their requests are repeated at random brokers.
 * At the end each planned time from the first to the last must have exactly one task.
 */
import { Client } from "../../lib/client.ts"
import type { FinalClient } from "./final-checks.ts"
import { TOKEN } from "./parts.ts"
import { SCHEDULE_QUEUE } from "./workload.ts"

const SCHEDULES = 10
const PERIOD_MS = 1_000
const REPEAT_MS = 200

const idOf = (i: number) => `${SCHEDULE_QUEUE}:s${i}`
/** `all`: no outage is so long that a time may get no task. */
const set = (client: Client, i: number) =>
  client.setSchedule(idOf(i), { every_ms: PERIOD_MS, on_missed: "all", task: { type: "tick" } })

export class ScheduleWatch implements Disposable {
  #timer: Timer

  private constructor(private readonly clients: readonly Client[]) {
    this.#timer = setInterval(() => this.#repeat(), REPEAT_MS)
  }

  /** Sets the schedules. `urls`: of the brokers, behind links that have faults. */
  static async start(urls: readonly string[]): Promise<ScheduleWatch> {
    const clients = urls.map(url => new Client({ url, token: TOKEN, timeoutMs: 1_500 }))
    const isSet = (i: number) =>
      set(clients[0]!, i).then(
        () => true,
        error => {
          if (error.retryable) return false // on a busy machine Redis may be late
          throw error
        },
      )
    for (let i = 0; i < SCHEDULES; i++) while (!(await isSet(i))) await Bun.sleep(20)
    return new ScheduleWatch(clients)
  }

  /** A repeated request must change nothing. */
  #repeat(): void {
    const random = (count: number) => Math.floor(Math.random() * count)
    void set(this.clients[random(this.clients.length)]!, random(SCHEDULES)).catch(() => {})
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  /** Ends the schedules, and returns what is wrong with their tasks. */
  async check(last: FinalClient): Promise<string[]> {
    this[Symbol.dispose]()
    const wrong: string[] = []
    const fired = new Map<string, number>()
    for (let i = 0; i < SCHEDULES; i++) {
      await last.ask(client => client.pauseSchedule(idOf(i)))
      fired.set(idOf(i), (await last.ask(client => client.schedule(idOf(i)))).fired)
    }
    const times = new Map<string, number[]>()
    for await (const { schedule, planned_at } of last.tasks(SCHEDULE_QUEUE, "queued"))
      times.set(schedule!, [...(times.get(schedule!) ?? []), planned_at!])
    for (const [id, count] of fired) {
      const found = (times.get(id) ?? []).sort((a, b) => a - b)
      const gaps = found.slice(1).filter((time, i) => time !== found[i]! + PERIOD_MS)
      if (found.length === 0 || gaps.length > 0 || found.length !== count)
        wrong.push(
          `the schedule ${id} has fired ${count} times and has ${found.length} tasks; not one per planned time at ${gaps.slice(0, 5)}`,
        )
      await last.ask(client => client.deleteSchedule(id))
    }
    for (let remaining = 1; remaining > 0; )
      remaining = (
        await last.ask(client => client.purgeQueue(SCHEDULE_QUEUE, { state: "queued", limit: 10_000 }))
      ).remaining
    return wrong
  }
}
