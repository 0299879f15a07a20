/** A PostgreSQL with its defaults, so `fsync` and `synchronous_commit` are on: a commit is answered when it is on disk. */
import { chownSync } from "node:fs"
import { Process, until } from "../../support/processes.ts"
import { scratchDirectory } from "../scratch.ts"

/** Connections of a client. With 64 instead of 16, both queues on PostgreSQL were slower by a fifth or more. */
export const CONNECTIONS = 16

/** PostgreSQL refuses to run as root. */
const NOBODY = 65_534
const isRoot = process.getuid?.() === 0
const AS_NOBODY = [
  "setpriv",
  "--pdeathsig",
  "KILL",
  `--reuid=${NOBODY}`,
  `--regid=${NOBODY}`,
  "--clear-groups",
]
const unprivileged = (cmd: string[]) => (isRoot ? [...AS_NOBODY, ...cmd] : cmd)

/** Debian and its descendants install the programs of each version in a directory of its own, not in PATH. */
export function findPrograms(): { initdb: string; postgres: string } | undefined {
  const versions = [...new Bun.Glob("/usr/lib/postgresql/*/bin/initdb").scanSync("/")].sort()
  const initdb = Bun.which("initdb") ?? versions.at(-1)
  return initdb === undefined ? undefined : { initdb, postgres: initdb.replace(/initdb$/, "postgres") }
}

export interface Postgres extends AsyncDisposable {
  pid: number
  /** A connection string. */
  url: string
}

/** Starts a private cluster on a Unix socket. Undefined if PostgreSQL is not installed. */
export async function startPostgres(): Promise<Postgres | undefined> {
  const programs = findPrograms()
  if (programs === undefined || (isRoot && Bun.which("setpriv") === null)) return undefined
  const dir = scratchDirectory()
  if (isRoot) chownSync(dir, NOBODY, NOBODY)
  const data = `${dir}/data`
  const prepare = new Process({
    cmd: unprivileged([
      programs.initdb,
      "-D",
      data,
      "-U",
      "bench",
      "--auth=trust",
      "--encoding=UTF8",
      "--no-locale",
    ]),
    cwd: dir,
  })
  if ((await prepare.ended()) !== 0) throw new Error(`initdb failed: ${prepare.stdout}${prepare.stderr}`)
  const server = new Process({
    cmd: unprivileged([programs.postgres, "-D", data, "-k", dir, "-c", "listen_addresses="]),
    cwd: dir,
  })
  await until("PostgreSQL is ready", () => server.stderr.includes("ready to accept connections"))
  return {
    pid: server.pid,
    url: `postgres://bench@/postgres?host=${encodeURIComponent(dir)}`,
    [Symbol.asyncDispose]: async () => void (await server.stop()), // when all clients have closed their connections
  }
}
