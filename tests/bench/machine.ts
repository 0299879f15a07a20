/** The conditions of a measurement: machine, versions, settings. */
import { cpus, loadavg, totalmem } from "node:os"
import { join } from "node:path"
import { ROOT } from "../support/processes.ts"
import { findPrograms } from "./contenders/postgres.ts"
import { SETTINGS_NOTE } from "./settings.ts"

export interface Facts {
  date: string
  machine: string
  load: string
  versions: string
  settings: string
}

export async function facts(): Promise<Facts> {
  const [cpu] = cpus()
  const packages = await Promise.all(
    ["elysia", "ioredis", "bullmq", "bee-queue", "nats", "pg-boss", "graphile-worker"].map(
      async name => `${name} ${await packageVersion(name)}`,
    ),
  )
  const programs = [
    programVersion("redis-server", "--version", /v=(\S+)/),
    programVersion("beanstalkd", "-v", /(\d\S+)/),
    programVersion("nats-server", "-v", /v(\d\S+)/),
    programVersion("postgres", "--version", /(\d\S+)/, findPrograms()?.postgres),
  ]
  return {
    date: new Date().toISOString().slice(0, 16),
    machine: `${cpu?.model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform}`,
    load: loadavg()[0]!.toFixed(2),
    versions: [`Bun ${Bun.version}`, ...programs, ...packages].join(", "),
    settings: SETTINGS_NOTE,
  }
}

async function packageVersion(name: string): Promise<string> {
  const file = Bun.file(join(ROOT, "node_modules", name, "package.json"))
  return (await file.exists()) ? (await file.json()).version : "not installed"
}

function programVersion(name: string, flag: string, pattern: RegExp, path = name): string {
  if (Bun.which(path) === null) return `${name} not installed`
  const { stdout, stderr } = Bun.spawnSync([path, flag])
  return `${name} ${pattern.exec(`${stdout}${stderr}`)?.[1]}`
}
