/**
 * Output that never blocks the process. Bun's console waits for the reader of a pipe, a socket or a terminal: if nobody
 * reads it, the process hangs, and all leases lapse. Here a bounded amount waits in memory. What exceeds it is dropped,
 * counted, and reported when the reader is back.
 */
import { Console } from "node:console"
import { constants, fstatSync, openSync, writeSync } from "node:fs"
import { isatty } from "node:tty"
import type { Log } from "../log.ts"
import { pause } from "../pause.ts"

/** Per stream, beside what the system buffers, usually 64 KB. */
const MAX_WAITING_BYTES = 262_144
/** How often waiting output is retried. */
const RETRY_MS = 20
/** How long `flushOutput` waits. */
const FLUSH_MS = 1_000

type Done = (error?: Error | null) => void
type Chunk = string | Uint8Array
type Write = (chunk: Chunk, done: Done) => void

interface Output {
  name: "stdout" | "stderr"
  waitingBytes: number
  droppedLines: number
}

const outputs: Output[] = []

/** Bounds what is written to stdout and stderr, by the console too, unless they are files. */
export function dropUnreadOutput(log: Log): void {
  const { stdout, stderr } = process
  if (canBlock(1)) boundWrites(stdout, "stdout", log)
  if (canBlock(2)) boundWrites(stderr, "stderr", log)
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
  const write = ownWriter(name === "stdout" ? 1 : 2) ?? stream.write.bind(stream)
  const boundedWrite = (chunk: Chunk, encoding?: BufferEncoding | Done, callback?: Done) => {
    const done = typeof encoding === "function" ? encoding : callback
    const bytes = Buffer.byteLength(chunk)
    if (output.waitingBytes + bytes > MAX_WAITING_BYTES) {
      output.droppedLines += countLines(chunk)
      if (done) queueMicrotask(done)
      return true
    }
    output.waitingBytes += bytes
    write(chunk, error => {
      output.waitingBytes -= bytes
      done?.(error)
      if (!error) reportDropped(log)
    })
    return true
  }
  stream.write = boundedWrite as typeof stream.write
  // The reader may be gone, or the disk full. The program continues without output.
  stream.on("error", () => {})
}

/**
 * Writes to a pipe or a terminal without waiting, through an open file of its own: other programs that share the pipe do
 * not expect that mode. Returns undefined for a socket, which cannot be opened again; Bun's streams do not wait for those.
 */
function ownWriter(fd: number): Write | undefined {
  let own: number
  try {
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    own = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
  } catch {
    return undefined
  }
  const waiting: { rest: Uint8Array; done: Done }[] = []
  const writeWaiting = () => {
    for (let first = waiting[0]; first !== undefined; first = waiting[0])
      try {
        first.rest = first.rest.subarray(writeSync(own, first.rest))
        if (first.rest.length > 0) continue
        waiting.shift()
        first.done()
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") return void setTimeout(writeWaiting, RETRY_MS)
        waiting.shift()
        first.done(error as Error)
      }
  }
  return (chunk, done) => {
    if (waiting.push({ rest: Buffer.from(chunk as string), done }) === 1) writeWaiting()
  }
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

function countLines(chunk: Chunk): number {
  const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("latin1")
  return Math.max(1, text.split("\n").length - 1)
}

function canBlock(fd: number): boolean {
  try {
    const stats = fstatSync(fd)
    return stats.isFIFO() || stats.isSocket() || isatty(fd)
  } catch {
    return false
  }
}
