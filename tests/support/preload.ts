import { afterAll, setDefaultTimeout } from "bun:test"
import { endSharedRedis } from "./redis.ts"

afterAll(endSharedRedis)

// Processes that a test starts must not be killed by its timeout. This call affects only the first test file; the scripts
// in package.json pass --timeout for all.
setDefaultTimeout(180_000)
