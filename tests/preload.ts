import { afterAll, setDefaultTimeout } from "bun:test"
import { endSharedRedis } from "./redis.ts"

afterAll(endSharedRedis)

// bunfig.toml cannot say this, and what a test starts must not be killed under it.
setDefaultTimeout(60_000)
