/** The layout of the repository: rooms and the direction of imports, the top level, test files, links. */
import { expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { $ } from "bun"
import { root } from "./support/documents.ts"
import {
  anchorsOf,
  brokenLinks,
  circles,
  type Files,
  forbiddenImports,
  type Rules,
} from "./support/layout.ts"

/** Files that every room may import. */
const TOOLS = [
  "errors.ts",
  "log.ts",
  "pause.ts",
  "signals.ts",
  "terminal.ts",
  "broker-address.ts",
  "package.json",
]

const BELOW_QUEUE = ["observe", "redis", "config", "task", "wire"]

/** For each room the rooms that it may import. A key or a value may also be a single file. */
const ROOMS: Rules = {
  "broker.ts": ["process", "http", "queue", ...BELOW_QUEUE],
  "worker.ts": ["process", "worker", "handlers.ts", "config", "lib/observe/tracing.ts"],
  process: ["queue", ...BELOW_QUEUE],
  "lib/process/top.ts": ["client.ts"],
  "lib/process/tq.ts": ["client.ts"],
  "lib/process/tq-call.ts": ["client.ts"],
  "lib/process/tq-rows.ts": ["client.ts"],
  "lib/process/tq-dead-commands.ts": ["client.ts"],
  "lib/process/tq-schedule-commands.ts": ["client.ts"],
  http: ["queue", ...BELOW_QUEUE],
  worker: ["client.ts", "handlers.ts", "config", "wire"],
  queue: BELOW_QUEUE,
  observe: ["redis", "config", "task", "wire"],
  config: ["wire"],
  redis: ["config", "task", "wire"],
  "lib/redis/scripts.ts": ["lua"],
  "lib/redis/shared-scripts.ts": ["lua"],
  lua: [],
  task: ["wire"],
  wire: [],
  dashboard: ["wire"],
  "client.ts": ["wire"],
  "handlers.ts": ["config", "wire"],
  "errors.ts": ["wire"],
  "log.ts": [],
  "broker-address.ts": [],
  "pause.ts": [],
  "signals.ts": [],
  "terminal.ts": [],
}

const TOP_LEVEL = [
  "package.json",
  "tsconfig.json",
  "bunfig.toml",
  "bun.lock",
  "broker.ts",
  "worker.ts",
  "lib",
  "tests",
  "docker-compose.yml",
  "Dockerfile",
  "README.md",
  "CHANGELOG.md",
  "LICENSE",
]

/** What git tracks, or would track once it is added. */
const tracked = async () =>
  (await $`git ls-files --cached --others --exclude-standard`.cwd(root).text())
    .split("\n")
    .filter(path => path !== "" && existsSync(join(root, path)))

async function texts(paths: readonly string[]): Promise<Files> {
  return new Map(
    await Promise.all(paths.map(async path => [path, await Bun.file(join(root, path)).text()] as const)),
  )
}

const sources = async () =>
  texts(
    (await tracked()).filter(
      path => /\.tsx?$/.test(path) && (path.startsWith("lib/") || !path.includes("/")),
    ),
  )

test("each room imports only the rooms below it", async () => {
  const files = await sources()
  expect(files.size).toBeGreaterThan(80)
  expect(forbiddenImports(files, ROOMS, TOOLS)).toEqual([])
})

test("no files import one another in a circle", async () => {
  expect(circles(await sources())).toEqual([])
})

test("an import in the wrong direction, an unknown room and a circle are found and named", () => {
  const tree: Files = new Map([
    ["lib/wire/shape.ts", 'import { log } from "../log.ts"\nexport * from "./other.ts"\n'],
    ["lib/wire/other.ts", 'import type {\n  A,\n  B,\n} from "../queue/upper.ts"\n'],
    ["lib/queue/upper.ts", 'import "../wire/shape.ts"\nawait import("../attic/chest.ts")\n'],
    ["lib/attic/chest.ts", "// import { a } from 'x'\nexport const chest = 1\n"],
    ["lib/log.ts", ""],
  ])
  const rules = { wire: [], queue: ["wire"], "log.ts": [] }
  expect(forbiddenImports(tree, rules, ["log.ts"])).toEqual([
    "lib/attic/chest.ts: the room attic is not in the table of rooms",
    "lib/wire/other.ts:4 imports lib/queue/upper.ts; wire may import log.ts",
    "lib/queue/upper.ts:2 imports lib/attic/chest.ts; queue may import wire, log.ts",
  ])
  expect(circles(tree)).toEqual([["lib/queue/upper.ts", "lib/wire/other.ts", "lib/wire/shape.ts"]])
  expect(
    forbiddenImports(tree, { ...rules, attic: [], wire: ["queue"], queue: ["wire", "attic"] }, ["log.ts"]),
  ).toEqual([]) // the same tree under rules that allow it
  expect(
    circles(
      new Map([
        ["a.ts", 'import "./b.ts"'],
        ["b.ts", ""],
      ]),
    ),
  ).toEqual([])
})

test("the top level holds only what belongs there", async () => {
  const names = new Set(
    (await tracked()).map(path => path.split("/")[0]!).filter(name => !name.startsWith(".")),
  )
  expect([...names].filter(name => !TOP_LEVEL.includes(name))).toEqual([])
})

test("no test file is longer than 700 lines", async () => {
  const files = await texts((await tracked()).filter(path => /^tests\/.*\.tsx?$/.test(path)))
  expect(files.size).toBeGreaterThan(80)
  const long = [...files].map(([path, text]) => [path, text.split("\n").length - 1] as const)
  expect(long.filter(([, lines]) => lines > 700)).toEqual([])
})

test("every relative link in every document leads somewhere", async () => {
  const documents = await texts((await tracked()).filter(path => path.endsWith(".md")))
  expect(documents.size).toBeGreaterThan(8)
  expect(brokenLinks(documents, path => existsSync(join(root, path)))).toEqual([])
})

test("a link to a missing file or heading is found and named", () => {
  const documents: Files = new Map([
    [
      "a.md",
      "# One `two` thing\n\n## Same\n\n## Same\n\n[x](lib/b.md#here) [y](#one-two-thing) [z](#same-1) [w](#none)",
    ],
    [
      "lib/b.md",
      "# Here\n```md\n[not a link](gone.md)\n# Not a heading\n```\n[a](../a.md) [b](gone.md) [c](../a.md#no) [d](https://x.y/z) `[e](f.md)`",
    ],
  ])
  expect([...anchorsOf(documents.get("a.md")!)]).toEqual(["one-two-thing", "same", "same-1"])
  expect(brokenLinks(documents, path => documents.has(path))).toEqual([
    "a.md: #none: no such heading",
    "lib/b.md: gone.md: no such file",
    "lib/b.md: ../a.md#no: no such heading",
  ])
})
