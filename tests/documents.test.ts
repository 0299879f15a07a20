/** The overviews and the protocol: their length, and the facts in them that the routes and the tree determine. */
import { expect, test } from "bun:test"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { Glob } from "bun"
import { ROLES } from "../lib/wire/fields.ts"
import { ROUTES, type Route } from "../lib/wire/routes.ts"
import { bare, read, root, table } from "./support/documents.ts"

const routes = Object.values<Route>(ROUTES)

test("the front page stays short", async () => {
  expect((await read("README.md")).split("\n").length - 1).toBeLessThanOrEqual(300)
  expect((await read("lib/http/protocol.md")).split("\n").length - 1).toBeLessThanOrEqual(450)
})

test("the picture of the dashboard is small", () => {
  expect(Bun.file(join(root, "lib/dashboard/dashboard.png")).size).toBeWithin(10_000, 200_000)
})

/** Errors that any request may get; the table of the front page says so once. */
const COMMON = new Set(["overloaded", "unauthorized", "too_many_attempts", "forbidden"])

/** The protocol is `protocol.md` and one document for each subject that few clients need. */
const documentsOfProtocol = () => new Glob("lib/http/*.md").scan({ cwd: root })

test("the front page and the documents of the protocol have every route, with its summary, its success and its own errors", async () => {
  const header = "| route | does | success | errors |"
  const protocol = await Array.fromAsync(documentsOfProtocol(), async path =>
    (await read(path)).includes(header) ? [path] : [],
  )
  const documents = ["README.md", ...protocol.flat()]
  const rows = (await Promise.all(documents.map(document => table(document, header)))).flat()
  expect(rows.sort()).toEqual(
    routes
      .map(({ method, path, summary, answers, problems = [] }) => [
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
  const all = await table("lib/http/protocol.md", "| role | may send |")
  expect(all.at(-1)).toEqual([
    "`watch`",
    "what `read` may send, but without [payloads, results and errors](private.md)",
  ])
  const rows = all.slice(0, -1)
  expect(rows.map(([role, paths]) => [bare(role!), bare(paths!).split(", ").sort()])).toEqual(
    ROLES.filter(role => role !== "watch").map(role => [
      role,
      routes
        .filter(({ roles }) => roles.includes(role))
        .map(({ method, path }) => `${method} ${path}`)
        .sort(),
    ]),
  )
})

test("the documents of the protocol have a heading for every route", async () => {
  const documents = await Array.fromAsync(documentsOfProtocol(), read)
  const headings = [...documents.join("\n").matchAll(/^##+ (.*)$/gm)].flatMap(([, heading]) =>
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
