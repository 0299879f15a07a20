/**
 * Workarounds for ioredis 6.0. Each says what goes wrong without it.
 */
import { type Redis, type SentinelConnectionOptions, SentinelConnector } from "ioredis"

const REVIVE_MS = 100

/** Whether the error says that the user may not call the command, or that the server does not have it under this name. */
const isRefused = (error: Error): boolean => /^NOPERM|unknown command/i.test(error.message)

/**
 * Uses a server that refuses INFO, as some managed ones do. ioredis calls INFO before it uses a connection: it prints a
 * warning to stderr if the user may not call it, and gives up if the command is renamed. An empty answer means: not loading.
 */
export function doWithoutInfo(redis: Redis): void {
  const info = redis.info.bind(redis) as (...args: unknown[]) => Promise<string>
  redis.info = ((...args: unknown[]) => {
    const done =
      typeof args.at(-1) === "function" ? (args.pop() as (error: unknown, text?: string) => void) : undefined
    const answer = info(...args).catch((error: Error) => {
      if (isRefused(error)) return ""
      throw error
    })
    if (done !== undefined) answer.then(text => done(null, text), done)
    return answer
  }) as Redis["info"]
}

/**
 * Connects again after ioredis gave up. If a connection is interrupted while it is being made, its status becomes `end`,
 * and the retry strategy is not asked.
 */
export function revive(redis: Redis): void {
  let closed = false
  const disconnect = redis.disconnect.bind(redis)
  redis.disconnect = (again = false) => {
    closed ||= !again
    disconnect(again)
  }
  redis.on("end", () => {
    const timer = setTimeout(() => {
      if (!closed && redis.status === "end") redis.connect().catch(() => {})
    }, REVIVE_MS)
    timer.unref()
  })
}

/**
 * Reconnects once, however many replies ask for it. ioredis does so for each READONLY, and each time it leaves a timer and
 * a listener on the socket, of which Bun warns on stderr, in the middle of the log.
 */
export function reconnectOnce(redis: Redis): void {
  const disconnect = redis.disconnect.bind(redis)
  let leaving: unknown
  redis.disconnect = (again = false) => {
    const { stream } = redis as { stream?: unknown }
    if (again && stream !== undefined && stream === leaving) return
    leaving = stream
    disconnect(again)
  }
}

/** The last error of a connection to a Sentinel: ioredis reports only that all of them are unreachable. */
export const sentinelError = (redis: Redis): Error | undefined => {
  const { connector } = redis as unknown as { connector: unknown }
  return connector instanceof QuietSentinels ? connector.lastError : undefined
}

/**
 * Two workarounds for the failover detector, which subscribes to messages of the Sentinels:
 *   - its connections have no `error` listener, so that ioredis prints every error of them to stderr
 *     (the symptom of github.com/redis/ioredis/issues/1829);
 *   - a failover message that arrives during a reconnect interrupts it, and the connection ends for good. So the detector
 *     is removed while the connection is made. Seen in 6.0.0; no upstream issue was found.
 */
export class QuietSentinels extends SentinelConnector {
  lastError: Error | undefined

  constructor(options: SentinelConnectionOptions) {
    super(options)
    const internal = internals(this)
    const dial = internal.connectToSentinel.bind(this)
    internal.connectToSentinel = (...args) =>
      dial(...args).on("error", (error: Error) => {
        this.lastError = error
      })
  }

  override connect(...args: Parameters<SentinelConnector["connect"]>) {
    const internal = internals(this)
    internal.failoverDetector?.cleanup()
    // A second clean-up would leave listeners on its sockets, and Bun would warn about them.
    internal.failoverDetector = null
    return super.connect(...args)
  }
}

const internals = (connector: SentinelConnector) =>
  connector as unknown as {
    connectToSentinel(...args: unknown[]): Redis
    failoverDetector: { cleanup(): void } | null
  }
