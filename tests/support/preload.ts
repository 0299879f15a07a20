import { afterAll, setDefaultTimeout } from "bun:test"
import { endSharedRedis } from "./redis.ts"

afterAll(endSharedRedis)

// What a test starts must not be killed under it. Of several files this holds for the first: package.json says it for all.
setDefaultTimeout(60_000)
