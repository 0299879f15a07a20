/**
 * Preloaded into each process that `bun run start` starts: names the process in the log, and ends it if its parent is
 * killed. The IPC channel to the parent closes when the parent ends, however it ends.
 */
import { basename } from "node:path"
import { nameProcess } from "../log.ts"

/** `broker`, `worker`, or `broker-1` for one of several brokers. */
const [, file = "", option, index] = process.argv
nameProcess(basename(file, ".ts") + (option === "--nth" ? `-${index}` : ""))
process.once("disconnect", () => process.kill(process.pid, "SIGTERM"))
