import { afterAll } from "bun:test"
import { endSharedRedis } from "./redis.ts"

afterAll(endSharedRedis)
