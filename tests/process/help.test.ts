/** `--help`, `--version` and unknown arguments; and the first log lines of a broker and a worker. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import { VARIABLES } from "../../lib/config/variables.ts"
import { createLog } from "../../lib/log.ts"
import { announce, brokerFacts, tokenSource } from "../../lib/process/greeting.ts"
import { helpText, type Program, variablesOf } from "../../lib/process/help.ts"
import { version } from "../../package.json" with { type: "json" }
import { bare, table } from "../support/documents.ts"
import { brokerProcess, directory, listening } from "../support/processes.ts"

const root = join(import.meta.dir, "../..")
const PROGRAMS = ["broker", "worker", "top", "tq", "start", "inspect", "pack"] as const
const IN_ROOT: readonly Program[] = ["broker", "worker"]
const fileOf = (program: Program) =>
  join(root, IN_ROOT.includes(program) ? `${program}.ts` : `lib/process/${program}.ts`)

async function run(program: Program, ...args: string[]) {
  const child = Bun.spawn([process.execPath, fileOf(program), ...args], {
    cwd: "/tmp",
    env: { PATH: process.env.PATH ?? "", PORT: "none" },
    stdout: "pipe",
    stderr: "pipe",
  })
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { out, errors, code }
}

/** The rows of the table of lib/config/README.md, without its marks. */
const rows = async () =>
  (await table("lib/config/README.md", "| variable | read by | default | meaning |"))
    .map(row => row.map(bare) as [string, string, string, string])
    .filter(([, readBy]) => readBy !== "Compose")

test("lib/config/README.md, help and lib/config/config.ts name the same variables, in one order, with the same defaults and meanings", async () => {
  const variables = await rows()
  expect(variables.map(([name, , , meaning]) => [name, meaning])).toEqual(Object.entries(VARIABLES))
  for (const program of ["broker", "worker"] as const) {
    const read = variables.filter(([, by]) => by === program || by === "both")
    const defaults = read.map(([name, , fallback]) => [name, fallback === "–" ? undefined : fallback])
    expect([...variablesOf(program)] as unknown[]).toEqual(defaults)
    // Apart from line breaks and indentation, the page contains each text unchanged.
    const page = helpText(program).replaceAll(/\s+/g, " ")
    for (const [name, , fallback, meaning] of read)
      expect(page).toContain(` ${name}=${fallback === "–" ? "" : fallback} ${meaning}`)
  }
})

test("a reader reports exactly the variables that it reads", () => {
  for (const [program, read] of [
    ["broker", readBrokerConfig],
    ["worker", readWorkerConfig],
  ] as const) {
    const asked = new Set<string>()
    read(new Proxy({}, { get: (_, name) => void asked.add(String(name)) }))
    expect([...asked].sort()).toEqual([...variablesOf(program).keys()].sort())
  }
})

test.each(PROGRAMS)(
  "the help of %s fits a terminal and starts with what the program is and how to start it",
  program => {
    const lines = helpText(program).split("\n")
    expect(Math.max(...lines.map(line => line.length))).toBeLessThanOrEqual(80)
    expect(lines[0]).toContain("task")
    expect(lines.slice(0, 10).join("\n")).toContain(
      IN_ROOT.includes(program) ? `bun run ${program}.ts` : `bun run ${program}`,
    )
  },
)

test.each(PROGRAMS)(
  "%s answers --help, -h and --version, whatever its settings are, and no other argument",
  async program => {
    const [help, h, v, wrong] = await Promise.all([
      ...["--help", "-h", "--version"].map(arg => run(program, arg)),
      run(program, "--help", "--prot\x1b[2J=1"),
    ])
    expect(help).toEqual({ out: helpText(program), errors: "", code: 0 })
    expect(h).toEqual(help!)
    expect(v).toEqual({ out: `${version}\n`, errors: "", code: 0 })
    expect([wrong!.out, wrong!.code]).toEqual(["", 2])
    expect(wrong!.errors).toStartWith(`${program}: unknown argument "--prot\\u001b[2J=1"`)
  },
)

const redis = {
  at: "/tmp/redis.sock",
  version: "7.0.15",
  usedBytes: 0,
  maxBytes: 0,
  maxmemoryPolicy: "noeviction",
  durability: "always" as const,
  topology: "single" as const,
  replicas: 0,
  waitReplicas: 0,
  refused: undefined,
  degraded: [],
}

test("on a terminal each fact has its own line, otherwise all are in one line of JSON", () => {
  const facts = brokerFacts("http://localhost:5000", redis, ".data/token", "info")
  const logged: string[] = []
  const written: string[] = []
  const log = (terminal: boolean) => createLog("info", line => logged.push(line), terminal)
  announce(log(false), "The broker is listening", facts, false, text => written.push(text))
  expect([logged.length, written.length]).toEqual([1, 0])
  expect(JSON.parse(logged[0]!)).toMatchObject({ message: "The broker is listening", ...facts })
  announce(log(true), "The broker is listening", facts, true, text => written.push(text))
  expect(logged[1]).toEndWith("The broker is listening")
  const lines = written[0]!.split("\n")
  expect(lines).toHaveLength(Object.keys(facts).length)
  for (const [name, text] of [
    ["url", "http://localhost:5000"],
    ["swagger", "http://localhost:5000/swagger"],
    ["metrics", "http://localhost:5000/metrics"],
    ["token", ".data/token"],
    ["durability", "always"],
    ["log level", "info"],
  ])
    expect(lines.map(line => line.trim().split(/ {2,}/))).toContainEqual([name!, text!])
})

test("names cannot control the terminal, and facts are hidden if the log level hides them", () => {
  const written: string[] = []
  const facts = { types: ["a", "\x1b[2J\u202e"], log_level: "info" }
  announce(createLog("silent"), "The worker is ready", facts, true, text => written.push(text))
  expect(written[0]).toMatch(/^[\n -~]+$/)
  announce(createLog("silent"), "The worker is ready", { ...facts, log_level: "warn" }, true, text =>
    written.push(text),
  )
  expect(written).toHaveLength(1)
})

test("the source of the token is shown: a variable, a file, or API_TOKENS", () => {
  const config = readBrokerConfig({ DATA_DIR: "/d" })
  expect(tokenSource(config, "made")).toBe("/d/token")
  expect(tokenSource(readBrokerConfig({ API_SECRET_TOKEN: "s" }), "s")).toBe("API_SECRET_TOKEN")
  expect(tokenSource(config, undefined)).toBe("API_TOKENS")
})

test("the addresses that a broker logs at its start work", async () => {
  await using dir = await directory()
  await using broker = await listening(
    brokerProcess({ HOST: "127.0.0.1", PORT: "0", DATA_DIR: join(dir.path, ".data") }),
    "",
  )
  const line = broker.process.log.find(({ message }) => message === "The broker is listening")!
  const token = (await Bun.file(String(line.token)).text()).trim()
  for (const page of ["swagger", "metrics"])
    expect((await fetch(String(line[page]), { headers: { "x-api-token": token } })).status).toBe(200)
})

test(".env.example explains each variable with the same text", async () => {
  const example = (await Bun.file(join(root, ".env.example")).text()).replaceAll("\n# ", " ")
  for (const [name, meaning] of Object.entries(VARIABLES))
    expect(example).toMatch(new RegExp(`${RegExp.escape(meaning)}\\n${name}=`))
})
