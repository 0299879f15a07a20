/** How the text of a script is put together: which shared definitions it gets, and where they stand. */
import { describe, expect, test } from "bun:test"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { definitionsIn, namesIn, statementsOf, withDefinitions } from "../../lib/redis/script-text.ts"
import { QUEUE_SCRIPTS } from "../../lib/redis/scripts.ts"

const folder = join(import.meta.dir, "../../lib/lua")
const SHARED = [
  "clock",
  "record",
  "collect",
  "buckets",
  "groups",
  "moves",
  "create",
  "ranks",
  "deletion",
  "schedule",
]
const read = (name: string) => Bun.file(join(folder, `${name}.lua`)).text()

const shared = definitionsIn([
  `--[[ a file: its header. ]]
local count = 0 -- how often
-- Adds one.
local function add()
  count = count + 1

  return count
end
local function twice() return add() + add() end
local unused = twice()
local first, last =
  1, 2

local open
function open() return twice() end
`,
])
const textOf = (script: string) => withDefinitions(script, shared)

const COUNT = "local count = 0 -- how often\n"
const ADD = `-- Adds one.
local function add()
  count = count + 1

  return count
end
`
const TWICE = "local function twice() return add() + add() end\n"

describe("a script gets", () => {
  test("what its statements use, directly or through others, before the first use, and nothing else", () => {
    expect(textOf("local a = 1\nlocal b = twice()\nlocal c = twice()\n")).toBe(
      `local a = 1\n${COUNT}${ADD}${TWICE}local b = twice()\nlocal c = twice()\n`,
    )
  })

  test("all names of a definition, and all lines of a statement", () => {
    expect(textOf("return {\n  last,\n}\n")).toBe("local first, last =\n  1, 2\nreturn {\n  last,\n}\n")
  })

  test("no definition for a member, a comment or a text of the same name", () => {
    const script = `-- add\nreturn t.add .. "add" .. 'add' -- twice\n`
    expect(textOf(script)).toBe(script)
    expect(namesIn("a..b .. t.c")).toEqual(["a", "b", "t"])
  })

  test("functions for the body of an `if` within that body, but values before it", () => {
    expect(textOf("if x then\n  twice()\nend\nreturn twice()\n")).toBe(
      `${COUNT}if x then\n${ADD}${TWICE}  twice()\nend\n${ADD}${TWICE}return twice()\n`,
    )
  })

  test("what the condition of an `if` uses, or what has an `else`, before it", () => {
    expect(textOf("if add() then\n  add()\nend\n")).toBe(`${COUNT}${ADD}if add() then\n  add()\nend\n`)
    expect(textOf("if x then\n  y()\nelse\n  add()\nend\n")).toBe(
      `${COUNT}${ADD}if x then\n  y()\nelse\n  add()\nend\n`,
    )
  })

  test("a function that is declared before it is defined", () => {
    expect(textOf("if x then\n  open()\nend\n")).toBe(
      `${COUNT}local open\nif x then\n${ADD}${TWICE}function open() return twice() end\n  open()\nend\n`,
    )
  })
})

test("shared files consist of definitions only", () => {
  expect(() => definitionsIn(["local a = 1\nredis.call('PING')\n"])).toThrow("not a definition: redis.call")
})

test("no line of a file is lost, and no name of a script has two meanings", async () => {
  const lines = (text: string) => text.split("\n").filter(line => line !== "" && !line.startsWith("--"))
  const files = (await readdir(folder)).filter(file => file.endsWith(".lua"))
  for (const file of files) {
    const text = (await read(file.replace(".lua", ""))).replace(/^#!.*\n/, "")
    expect(lines(statementsOf(text).join(""))).toEqual(lines(text.replace(/^--\[\[.*?\]\]\n/gms, "")))
  }
  const names = definitionsIn(await Promise.all(SHARED.map(read))).flatMap(definition => definition.names)
  for (const { source } of Object.values(QUEUE_SCRIPTS)) {
    const own = [...source.matchAll(/^local (?:function )?([\w, ]+)/gm)].flatMap(match =>
      match[1]!.split(",").map(name => name.trim()),
    )
    expect(own.filter(name => names.includes(name))).toEqual([])
  }
})
