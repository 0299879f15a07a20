/** The Redis settings of a row, the same for all contenders that use Redis. */
export interface RedisSettings {
  aof: "always" | "everysec" | "no"
  args: readonly string[]
}

/** Rewrites of the AOF are off: they would hit one contender or another by chance, and take a core each time. */
const NO_REWRITES = ["--auto-aof-rewrite-percentage", "0"]

export const withAof = (aof: RedisSettings["aof"]): RedisSettings => ({ aof, args: NO_REWRITES })

export const SETTINGS_NOTE =
  'Each contender has a Redis of its own, alike: on a Unix socket, `save ""`, `auto-aof-rewrite-percentage 0`, ' +
  "`appendonly yes` with the `appendfsync` that the row names (where it names none: `appendonly no`), " +
  "otherwise the defaults of redis-server."
