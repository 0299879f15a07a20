/** Every document: relative links resolve, and what states facts of the code agrees with the code. */
import { expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { readdir } from "node:fs/promises"
import { dirname, join, relative, resolve } from "node:path"
import { Glob } from "bun"
import { ROLES } from "../lib/wire/fields.ts"
import { ROUTES, type Route } from "../lib/wire/routes.ts"
import { bare, read, root, table } from "./support/documents.ts"

const documents = [...new Glob("**/*.md").scanSync({ cwd: root })].filter(
  path => !path.includes("node_modules/"),
)
const routes = Object.values<Route>(ROUTES)

/** The anchor that GitHub makes of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(" ", "-")

/** The text without code blocks, in which a `#` begins a comment and brackets are no links. */
const prose = (text: string) => text.replace(/^```[\s\S]*?^```/gm, "")

test.each(documents)("every relative link of %s resolves", async path => {
  const text = await read(path)
  const broken: string[] = []
  for (const [, link] of prose(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(link!)) continue
    const [file, anchor] = link!.split("#")
    const target = file === "" ? path : relative(root, resolve(root, dirname(path), file!))
    if (!existsSync(join(root, target))) broken.push(link!)
    else if (anchor !== undefined) {
      const headings = prose(await read(target)).matchAll(/^#+ (.*)$/gm)
      if (![...headings].some(([, heading]) => anchorOf(heading!) === anchor)) broken.push(link!)
    }
  }
  expect(broken).toEqual([])
})

test("the front page stays short", async () => {
  expect((await read("README.md")).split("\n").length - 1).toBeLessThanOrEqual(300)
  expect((await read("lib/http/protocol.md")).split("\n").length - 1).toBeLessThanOrEqual(450)
})

/** Errors that any request may get; the table of the front page says so once. */
const COMMON = new Set([
  "bad_request",
  "redis_unavailable",
  "not_replicated",
  "overloaded",
  "unauthorized",
  "forbidden",
])

test("the front page has every route, with its summary, its success and its own errors", async () => {
  const rows = await table("README.md", "| route | does | success | errors |")
  expect(rows.sort()).toEqual(
    routes
      .map(({ method, path, summary, answers, problems }) => [
        `\`${method} ${path}\``,
        summary,
        Object.keys(answers).join(", "),
        problems
          .filter(code => !COMMON.has(code))
          .map(code => `\`${code}\``)
          .join(", ") || "–",
      ])
      .sort(),
  )
})

test("the roles of the protocol are those of lib/wire/routes.ts", async () => {
  const rows = await table("lib/http/protocol.md", "| role | may send |")
  expect(rows.map(([role, paths]) => [bare(role!), bare(paths!).split(", ").sort()])).toEqual(
    ROLES.map(role => [
      role,
      routes
        .filter(({ roles }) => roles.includes(role))
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
    ]),
  )
})

test("the protocol has a heading for every route", async () => {
  const headings = [...(await read("lib/http/protocol.md")).matchAll(/^### (.*)$/gm)].flatMap(([, heading]) =>
    [...heading!.matchAll(/`([A-Z]+ [^?`]+)[^`]*`/g)].map(([, route]) =>
      route!.replace("<task_id>", ":id").replace(/<(\w+)>/g, ":$1"),
    ),
  )
  expect(headings.sort()).toEqual(
    [...routes.map(({ method, path }) => `${method} ${path}`), "GET /dashboard", "GET /swagger"].sort(),
  )
})

test("the map of lib has every room, and the core path is an afternoon's length", async () => {
  const rooms = (await readdir(join(root, "lib"), { withFileTypes: true })).filter(entry =>
    entry.isDirectory(),
  )
  const map = await table("lib/README.md", "| room | duty | may import, besides the tools |")
  expect(
    map
      .map(([room]) => /([\w.]+)\/?[`\]]/.exec(room!)![1]!)
      .filter(room => !room.endsWith(".ts"))
      .sort(),
  ).toEqual(rooms.map(({ name }) => name).sort())
  let lines = 0
  for (const [files] of await table("lib/README.md", "| file | what to look for |"))
    for (const [, file] of files!.matchAll(/\(([^)]+\.(?:ts|lua))\)/g))
      lines += (await read(join("lib", file!))).split("\n").length
  expect(lines).toBeGreaterThan(3_000)
  expect(lines).toBeLessThan(5_000)
})
