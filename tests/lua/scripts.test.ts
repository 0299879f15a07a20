/** The text of the Lua scripts: their headers, keys, arguments, flags and answers match their declarations. */
import { describe, expect, test } from "bun:test"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { QUEUE_KEY_NAMES } from "../../lib/redis/keys.ts"
import { namesIn } from "../../lib/redis/script-text.ts"
import { CODES, QUEUE_SCRIPTS, type ScriptName, scriptText } from "../../lib/redis/scripts.ts"
import { SHARED_SCRIPTS, type SharedScriptName } from "../../lib/redis/shared-scripts.ts"

const words = (text: string) => text.split(",").map(word => word.trim())

const queueScripts = Object.keys(QUEUE_SCRIPTS) as ScriptName[]
const sharedScripts = Object.keys(SHARED_SCRIPTS) as SharedScriptName[]
const names = [...queueScripts, ...sharedScripts]
const ALL = { ...QUEUE_SCRIPTS, ...SHARED_SCRIPTS }
const isShared = (name: ScriptName | SharedScriptName): name is SharedScriptName => name in SHARED_SCRIPTS

const kebab = (name: string) => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)

/** The files of which lib/redis/script-text.ts gives a script the definitions that it uses. */
const PARTS = [
  "clock.lua",
  "record.lua",
  "collect.lua",
  "buckets.lua",
  "groups.lua",
  "moves.lua",
  "create.lua",
  "ranks.lua",
  "deletion.lua",
  "schedule.lua",
]

test("use_queue unpacks the keys in the order in which a script receives them", async () => {
  const record = await Bun.file(join(import.meta.dir, "../../lib/lua/record.lua")).text()
  expect(words(/^ {2}(task,[^=]+) = unpack\(keys\)$/m.exec(record)![1]!)).toEqual(QUEUE_KEY_NAMES)
})

test("every file of lib/lua is a declared script, or a part of them", async () => {
  const files = (await readdir(join(import.meta.dir, "../../lib/lua"))).filter(file => file.endsWith(".lua"))
  expect(files.sort()).toEqual([...names.map(name => `${kebab(name)}.lua`), ...PARTS].sort())
  expect(names.length).toBeGreaterThan(40)
})

test("no line of a script is longer than 132 characters", async () => {
  const folder = join(import.meta.dir, "../../lib/lua")
  const long = await Promise.all(
    (await readdir(folder)).map(async file => {
      const lines = (await Bun.file(join(folder, file)).text()).split("\n")
      return lines.flatMap((line, i) => (line.length > 132 ? [`${file}:${i + 1}`] : []))
    }),
  )
  expect(long.flat()).toEqual([])
})

describe.each(names)("%s.lua", name => {
  const { source, args, each } = ALL[name]

  test("names its keys as its declaration does", () => {
    const text = isShared(name) ? source : scriptText(name)
    const keys = words(/^local (.+) = unpack\(KEYS\)$/m.exec(text)![1]!)
    if (isShared(name)) expect(keys).toEqual(Object.keys(SHARED_SCRIPTS[name].keys))
    // A call for a queue needs a key at least, which tells its slot.
    else expect(keys).toEqual(QUEUE_KEY_NAMES.filter(key => namesIn(text).includes(key)))
  })

  test("names its arguments as its declaration does", () => {
    const before =
      /^local (.+) = unpack\(ARGV\)$/m.exec(source)?.[1] ?? /^local (\w+) = ARGV\[1\]$/m.exec(source)?.[1]
    expect(before === undefined ? [] : words(before)).toEqual([...args])
    const named =
      /^ *local (.+) = (?:unpack\(ARGV, i, i \+ fields_each - 1\)|ARGV\[i\], ARGV\[i \+ 1\].*)$/m.exec(
        source,
      )?.[1] ?? /^ *local (\w+) = ARGV\[i\]$/m.exec(source)?.[1]
    if (named !== undefined) {
      expect(words(named)).toEqual([...each])
      expect(source).toContain(`\nlocal first, fields_each = ${args.length + 1}, ${each.length}\n`)
      expect(source).toContain("\nfor i = first, #ARGV, fields_each do\n")
    } else if (/ipairs\(ARGV\)/.test(source)) {
      expect([...args]).toEqual([])
      expect(/^for _, (\w+) in ipairs\(ARGV\) do/m.exec(source)?.[1]).toBe(each.join())
    } else if (each.length > 0) {
      const fields = `${args.length + 1}, ${each.length}`
      expect(source).toContain(`\nlocal workers_from, fields_each, token_size = ${fields}, 22\n`)
      expect(source).toContain("\nfor i = workers_from, #ARGV, fields_each do ")
      expect(each.join()).toBe("worker,slots")
    } else expect(source).not.toMatch(/#ARGV/)
  })

  test("describes its arguments in the order of its declaration", () => {
    let rest = /^ {2}(?:arguments|for each) +(.+?)^ {2}answers /ms.exec(source)?.[1] ?? ""
    for (const word of [...args, ...each]) {
      const at = new RegExp(`\\b${word}\\b`).exec(rest)
      expect([word, at?.[0]]).toEqual([word, word])
      rest = rest.slice(at!.index + word.length)
    }
  })

  test("opens like a manual page: shebang, what it does, what it answers, what it costs", () => {
    const [shebang, title, ...rest] = source.split("\n")
    expect(shebang).toMatch(/^#!lua( flags=(allow-oom|no-writes))?$/)
    expect(title).toStartWith(`--[[ ${kebab(name)}: `)
    const page = rest.slice(0, rest.findIndex(line => line.includes("]]")) + 1).join("\n")
    expect(page).toMatch(/^ {2}answers {4}\S/m)
    expect(page).toMatch(/^ {2}cost {7}O\(/m)
    expect(/^ {2}(arguments|for each) +/m.test(page)).toBe(args.length + each.length > 0)
  })

  test("may run without memory unless it adds tasks or events or finds out what may, and declares whether it only reads", () => {
    const flags = /^#!lua flags=(.+)$/m.exec(source)?.[1]
    const reads =
      !/HSET|HDEL|HINCRBY|SADD|XADD|ZADD|make_ready|requeue_or_mark_dead|commit\(\)|UNLINK|MSET/.test(source)
    const needsMemory = ["submit", "change", "scheduleFire", "eventsAppend", "historyAdd", "probe"].includes(
      name,
    )
    expect(flags).toBe(needsMemory ? undefined : reads ? "no-writes" : "allow-oom")
  })

  test("touches no key but those it was given, spells none, and reads the clock once", () => {
    const text = scriptText(name)
    expect(text).toStartWith("#!lua")
    expect(text).not.toMatch(/tq:|"\{|SMEMBERS|KEYS\[/)
    // LREM scans a list. The audit uses it for a turn that it has found, what changes a task for one of the last
    // entries, and deleteEnded once per call.
    expect(text.includes('"LREM"')).toBe(
      ["auditQueue", "submit", "change", "scheduleFire", "deleteEnded"].includes(name),
    )
    // Listings and retention read a part of a list. Only the backoff is random.
    const ranges: Partial<Record<string, number>> = { page: 2, merged: 1, sweep: 1, newest: 1 }
    expect(text.match(/"LRANGE"/g)?.length ?? 0).toBe(ranges[name] ?? 0)
    expect(source).not.toContain("math.random")
    expect(text.match(/math\.random\b/g)?.length ?? 0).toBeLessThanOrEqual(1)
    expect(text.match(/"TIME"/g)?.length ?? 0).toBeLessThanOrEqual(1)
  })
})

test.each(Object.entries(CODES))("%s answers the codes of its declaration", (name, codes) => {
  const answers = /^ {2}answers (.+?)^ {2}cost /ms.exec(ALL[name as ScriptName].source)![1]!
  // The braces contain the other parts of an answer.
  const words = answers.replace(/\{[^}]*\}/, "").matchAll(/"([a-z_]+)"/g)
  expect(new Set(Array.from(words, ([, code]) => code))).toEqual(new Set<string | undefined>(codes))
})
