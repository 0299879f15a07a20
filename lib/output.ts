/**
 * Output that never blocks the process. Bun's console waits for the reader of a pipe or socket: if nobody reads it, the
 * process hangs, and all leases lapse. Bun's streams do not wait, but keep everything in memory. So here a bounded amount
 * waits, and what exceeds it is dropped, counted, and reported when the reader is back.
 */
import { Console } from "node:console"
import { fstatSync } from "node:fs"
import type { Log } from "./log.ts"
import { pause } from "./pause.ts"

/** Per stream, in addition to the buffer of the system, usually 64 KB. */
const MAX_WAITING_BYTES = 262_144
/** How long `flushOutput` waits. */
const FLUSH_MS = 1_000

type Done = (error?: Error | null) => void

interface Output {
  name: "stdout" | "stderr"
  waitingBytes: number
  droppedLines: number
}

const outputs: Output[] = []

/** Bounds the unread output of stdout and stderr if they are pipes or sockets, including what the console writes. */
export function dropUnreadOutput(log: Log): void {
  const { stdout, stderr } = process
  if (isPipe(1)) boundWrites(stdout, "stdout", log)
  if (isPipe(2)) boundWrites(stderr, "stderr", log)
  if (outputs.length === 0) return
  Object.assign(console, new Console(stdout, stderr), {
    write: (...chunks: string[]) => stdout.write(chunks.join("")),
  })
}

/** Waits a moment until what was written has been read. */
export async function flushOutput(): Promise<void> {
  const end = performance.now() + FLUSH_MS
  while (outputs.some(({ waitingBytes }) => waitingBytes > 0) && performance.now() < end) await pause(10)
}

function boundWrites(stream: NodeJS.WriteStream, name: Output["name"], log: Log): void {
  const output: Output = { name, waitingBytes: 0, droppedLines: 0 }
  outputs.push(output)
  const write = stream.write.bind(stream)
  const boundedWrite = (chunk: string | Uint8Array, encoding?: BufferEncoding | Done, callback?: Done) => {
    const done = typeof encoding === "function" ? encoding : callback
    const bytes = Buffer.byteLength(chunk)
    if (output.waitingBytes + bytes > MAX_WAITING_BYTES) {
      output.droppedLines += countLines(chunk)
      if (done) queueMicrotask(done)
      return true
    }
    output.waitingBytes += bytes
    return write(chunk, typeof encoding === "string" ? encoding : "utf8", error => {
      output.waitingBytes -= bytes
      done?.(error)
      if (!error) reportDropped(log)
    })
  }
  stream.write = boundedWrite as typeof stream.write
  // The reader may be gone, or the disk full. The program continues without output.
  stream.on("error", () => {})
}

/** Waits until stderr has room, so that the report is not dropped itself. */
function reportDropped(log: Log): void {
  const isRead = ({ waitingBytes }: Output) => waitingBytes <= MAX_WAITING_BYTES / 2
  if (!outputs.every(output => output.name !== "stderr" || isRead(output))) return
  for (const output of outputs) {
    const { name, droppedLines } = output
    if (droppedLines === 0 || !isRead(output)) continue
    output.droppedLines = 0
    log.warn("Output was dropped because nobody read it", { output: name, lines: droppedLines })
  }
}

function countLines(chunk: string | Uint8Array): number {
  const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("latin1")
  return Math.max(1, text.split("\n").length - 1)
}

function isPipe(fd: number): boolean {
  try {
    const stats = fstatSync(fd)
    return stats.isFIFO() || stats.isSocket()
  } catch {
    return false
  }
}
