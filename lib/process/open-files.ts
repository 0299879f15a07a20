/** File descriptors: each connection needs one. When none is left, Bun accepts no connections and reports no error. */
import { closeSync, openSync, readFileSync } from "node:fs"
import type { Log } from "../log.ts"

const CHECK_MS = 5_000
/** Ten thousand waiting requests, and some for Redis and files. */
const ENOUGH = 10_240

/** A warning if this process may open fewer files than the broker can use. Bun raises the soft limit to the hard one. */
export function openFilesWarning(limit = openFilesLimit()): string | undefined {
  if (limit === undefined || limit >= ENOUGH) return undefined
  return `This process may have only ${limit} open files and connections: raise the limit, for example with ulimit -n ${ENOUGH}`
}

/** Logs when no file descriptor is left, and when there are some again. Returns a function that ends this. */
export function watchOpenFiles(log: Log, checkMs = CHECK_MS): () => void {
  let reported = false
  const check = () => {
    const exhausted = isExhausted()
    if (exhausted === reported) return
    reported = exhausted
    if (exhausted)
      log.error("The broker accepts no connections until others close: the limit of open files is reached", {
        limit: openFilesLimit(),
      })
    else log.info("Connections are accepted again")
  }
  const timer = setInterval(check, checkMs).unref()
  return () => clearInterval(timer)
}

function isExhausted(): boolean {
  try {
    closeSync(openSync("/dev/null", "r"))
    return false
  } catch (error) {
    return ["EMFILE", "ENFILE"].includes((error as NodeJS.ErrnoException).code ?? "")
  }
}

/** Known only on Linux. */
let limit: number | undefined
function openFilesLimit(): number | undefined {
  try {
    limit ??= Number(
      /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? Number.NaN,
    )
  } catch {}
  return Number.isNaN(limit) ? undefined : limit
}
