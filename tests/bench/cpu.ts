/** CPU time and memory of processes, read from /proc (Linux). */
import { readFileSync } from "node:fs"

/** Clock ticks per second in /proc: `getconf CLK_TCK`, which is 100 on every Linux that Bun supports. */
const TICKS_PER_SECOND = 100

/** CPU seconds, user and system, of a process and its children: PostgreSQL has one per connection. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
  // The name, in parentheses, may contain anything, so the fields are counted from after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  // Its own, and those of children that have ended.
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").slice(0, -1)
  return ticks / TICKS_PER_SECOND + children.reduce((sum, child) => sum + cpuSecondsIfAlive(Number(child)), 0)
}

function cpuSecondsIfAlive(pid: number): number {
  try {
    return cpuSeconds(pid)
  } catch {
    return 0
  }
}

/** CPU milliseconds of the main thread, for durations that are too short for clock ticks. */
export function firstThreadMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "latin1").split(" ")[0]) / 1e6
}

/** CPU seconds of this process. */
export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Bytes of memory in use. */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "latin1")
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024
}
