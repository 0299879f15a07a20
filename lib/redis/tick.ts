/**
 * The end of a tick: requests that arrive in the same tick share script calls, and the calls share a write to Redis.
 * It uses one setImmediate for all callbacks. Microtasks would be too early: they run between two requests of a tick.
 */
import type { Socket } from "node:net"
import type { Redis } from "ioredis"

let callbacks: (() => void)[] = []

/** Runs `callback` at the end of this tick, in order. Callbacks added by callbacks run in the same tick. None may throw. */
export function atTickEnd(callback: () => void): void {
  if (callbacks.push(callback) === 1) setImmediate(runAll)
}

function runAll(): void {
  // The array may grow while this loop runs.
  for (const callback of callbacks) callback()
  callbacks = []
}

/**
 * Sends all commands of a tick in one write. The auto-pipelining of ioredis does the same, but sends the next pipeline
 * only after the previous one is answered: Redis would idle while the broker writes answers, and batches would wait for
 * one another. This is most of a saving of 14 to 21 % of the broker's CPU per single request.
 */
export function writePerTick(redis: Redis): void {
  const send = redis.sendCommand.bind(redis)
  redis.sendCommand = (command, stream) => {
    const socket = redis.stream as Socket | undefined
    if (socket?.writableCorked === 0) {
      socket.cork()
      atTickEnd(() => socket.uncork())
    }
    return send(command, stream)
  }
}
