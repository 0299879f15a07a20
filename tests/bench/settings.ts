/** The Redis settings of a row, the same for all contenders that use Redis. */
export interface RedisSettings {
  aof: "always" | "everysec" | "no"
  args: readonly string[]
}

/** Rewrites of the append-only file are off: they would hit contenders at random and occupy a core. */
const NO_REWRITES = ["--auto-aof-rewrite-percentage", "0"]

export const withAof = (aof: RedisSettings["aof"]): RedisSettings => ({ aof, args: NO_REWRITES })

export const SETTINGS_NOTE =
  'Each contender has its own Redis with the same settings: on a Unix socket, `save ""`, `auto-aof-rewrite-percentage 0`, ' +
  "`appendonly yes` with the `appendfsync` that the row names (if it names none: `appendonly no`), " +
  "otherwise the defaults of redis-server. PostgreSQL has its defaults: `fsync` and `synchronous_commit` are on."
