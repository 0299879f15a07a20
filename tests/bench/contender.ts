/** The interface of all contenders, and the load of one slice of a measurement. */
import { cpuSeconds, ownCpuSeconds } from "./cpu.ts"

/** 85 bytes as JSON. */
export const PAYLOAD = {
  to: "ada@example.com",
  subject: "Welcome aboard",
  template: "welcome-2",
  lang: "en-GB",
}

export interface Load {
  tasks: number
  /** Tasks per request. */
  perRequest: number
  /** Requests in flight at a time. */
  lanes: number
}

export interface Contender extends AsyncDisposable {
  readonly name: string
  /** Its processes. The client is the bench's own process. */
  readonly servers: Readonly<Record<string, number>>
  /** Resolves when all tasks are stored. */
  submit(load: Load): Promise<void>
  /** Prepares to work. This is not timed. */
  beginWork?(load: Load): Promise<void>
  /** Resolves when this many tasks are leased and acknowledged. */
  work(load: Load): Promise<void>
  endWork?(): Promise<void>
}

/** CPU seconds per 1,000 tasks, by process. */
export type Cpu = Record<string, number>

export interface Slice {
  perSecond: number
  submitPerSecond: number
  workPerSecond: number
  cpu: Cpu
}

/** Submits all tasks, then works on all of them. This is the best case of every contender, as no worker ever waits. */
export async function wholeLife(contender: Contender, load: Load): Promise<Slice> {
  await contender.beginWork?.(load)
  const submit = await timed(contender, load.tasks, () => contender.submit(load))
  const work = await timed(contender, load.tasks, () => contender.work(load))
  await contender.endWork?.()
  const cpu: Cpu = {}
  for (const part in submit.cpu) cpu[part] = submit.cpu[part]! + work.cpu[part]!
  const perSecond = 1 / (1 / submit.perSecond + 1 / work.perSecond)
  return { perSecond, submitPerSecond: submit.perSecond, workPerSecond: work.perSecond, cpu }
}

/** Returns tasks per second and CPU cost. */
export async function timed(
  { servers }: Pick<Contender, "servers">,
  tasks: number,
  action: () => Promise<void>,
): Promise<{ perSecond: number; cpu: Cpu }> {
  // Garbage of the previous contender must not be collected during this slice.
  Bun.gc(true)
  const used = () => ({
    client: ownCpuSeconds(),
    ...Object.fromEntries(Object.entries(servers).map(([name, pid]) => [name, cpuSeconds(pid)])),
  })
  const before: Cpu = used()
  const start = performance.now()
  await action()
  const seconds = (performance.now() - start) / 1_000
  const cpu: Cpu = used()
  for (const part in cpu) cpu[part] = ((cpu[part]! - before[part]!) / tasks) * 1_000
  return { perSecond: tasks / seconds, cpu }
}

/** Runs `slot` in all lanes until all tasks of the load are distributed, `perRequest` at a time. */
export async function inLanes(
  { tasks, perRequest, lanes }: Load,
  slot: (count: number, lane: number, number: number) => Promise<void>,
): Promise<void> {
  let left = tasks
  let number = 0
  const run = async (lane: number) => {
    while (left > 0) {
      const count = Math.min(perRequest, left)
      left -= count
      await slot(count, lane, number++)
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, lane) => run(lane)))
}
