/** `bun run top`: what it draws, and that it leaves the terminal as it was. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { sortQueues } from "../../lib/process/queue-columns.ts"
import { formatAge, formatCount, safeText } from "../../lib/process/terminal-text.ts"
import { renderScreen, type ScreenState } from "../../lib/process/top-screen.ts"
import { freshName, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { sharedRedis } from "../support/redis.ts"

const queue = (name: string, more: object = {}): ScreenState["queues"][number] => ({
  queue: name,
  depth: { queued: 12_345, delayed: 2, processing: 3, done: 4, dead: 1_234_567, cancelled: 0, open: 12_350 },
  oldest_waiting_ms: 4_200,
  paused: false,
  ...more,
})
const SIZE = { columns: 80, rows: 24 }
const seen = (more: Partial<ScreenState> = {}): ScreenState => ({
  url: "http://broker:5000",
  queues: [queue("mail")],
  ...more,
})

test("each queue has a line with its counts and the age of the oldest task", () => {
  const lines = renderScreen(seen({ selected: "mail" }), { columns: 80, rows: 24 })
  expect(lines).toHaveLength(24)
  expect(lines[0]).toStartWith("http://broker:5000  ")
  expect(lines[1]).toBe("1 queues  12,347 waiting  3 running  1.2M dead")
  expect(lines[3]!.trim().split(/ +/)).toEqual(["QUEUE", "QUEUED", "DELAYED", "RUNNING", "DEAD", "OLDEST"])
  expect(lines[4]!.split(/ +/)).toEqual([">", "mail", "12,345", "2", "3", "1.2M", "4.2s"])
  expect(lines.at(-1)).toContain("q quit")
})

test("rates and workers are shown if the broker reports them", () => {
  const rates = { submitted: 1.25, leased: 1, done: 1_250, failed: 0 }
  const workers: ScreenState["workers"] = [
    { worker: "a-1", state: "live", in_hand: 3, done: 10, failed: 1, queues: ["mail"] },
    { worker: "b-2", state: "stale", in_hand: 1, done: 7, failed: 0, queues: ["mail", "push"] },
  ]
  const lines = renderScreen(seen({ queues: [queue("mail", { rates })], workers }), { columns: 80, rows: 24 })
  expect(lines[1]).toEndWith("1 workers  1 gone or stale")
  expect(lines[3]).toEndWith("    IN/S  DONE/S  FAIL/S")
  expect(lines[4]).toEndWith("     1.3   1,250       0")
  expect(lines.slice(6, 9).map(line => line.trim().split(/ +/).join(" "))).toEqual([
    "WORKER STATE IN HAND DONE FAILED QUEUES",
    "a-1 live 3 10 1 mail",
    "b-2 stale 1 7 0 mail push",
  ])
})

test("a paused queue is marked, however long its name is, and the selected one shows the reason", () => {
  const name = "q".repeat(64)
  const queues = [queue(name, { paused: true, pause_reason: "the mail server is down" })]
  const lines = renderScreen(seen({ queues, selected: name }), { columns: 80, rows: 24 })
  expect(lines[4]).toContain("… [paused] ")
  expect(lines.at(-2)).toBe("paused: the mail server is down")
})

test("a queue with waiting tasks that nobody polls is marked", () => {
  const marked = (more: object) => renderScreen(seen({ queues: [queue("mail", more)] }), SIZE)[4]!
  const [none, one] = [{ count: 0 }, { count: 1 }]
  const empty = { queued: 0, delayed: 0, processing: 0, done: 0, dead: 0, cancelled: 0 }
  expect(marked({ workers: none })).toStartWith("  mail [no workers] ")
  expect(marked({ workers: none, polled_at: Date.now() - 3_600_000 })).toContain("[no workers]")
  for (const healthy of [
    { workers: one },
    { workers: none, polled_at: Date.now() }, // by a worker without a name
    { workers: none, depth: empty },
    {}, // an older broker
  ])
    expect(marked(healthy)).not.toContain("[no workers]")
  expect(marked({ workers: none, paused: true })).toContain("mail [paused] ")
  // In a narrow column the mark is short, and the bottom line explains that of the selected queue.
  const narrow = queue("emails", { workers: none, rates: {} })
  const lines = renderScreen(seen({ queues: [narrow], selected: "emails" }), SIZE)
  expect(lines[4]).toStartWith("> emails !  ")
  expect(lines.at(-2)).toStartWith("no workers: tasks wait")
})

test("at 80 columns long names have room: rates are left out, and marks are short beside rates", () => {
  const of = (name: string) => queue(name, { rates: {}, paused: true })
  const long = renderScreen(seen({ queues: [of("invoices-of-tenant-seven")] }), SIZE)
  expect(long[4]).toStartWith("  invoices-of-tenant-seven [paused]  ")
  expect(long[3]).not.toContain("IN/S")
  const short = renderScreen(seen({ queues: [of("newsletters-2")] }), SIZE)
  expect(short[3]).toContain("IN/S")
  expect(short[4]).toStartWith("  newsletters… =  ")
  const wide = renderScreen(seen({ queues: [of("invoices-of-tenant-seven")] }), { columns: 110, rows: 24 })
  expect(wide[3]).toContain("IN/S")
})

test("the rates of all queues are summed", () => {
  const rates = { submitted: 1.25, leased: 1, done: 1_250, failed: 0 }
  const queues = [queue("a", { rates }), queue("b", { rates: { ...rates, failed: 2 } })]
  expect(renderScreen(seen({ queues }), SIZE)[2]).toBe("2.5 in/s  2,500 done/s  2 fail/s")
  expect(renderScreen(seen({ queues, order: "dead", isReversed: true }), SIZE)[2]).toBe(
    "2.5 in/s  2,500 done/s  2 fail/s  sorted by dead, reversed",
  )
})

test("queues are sorted by name or by any column, the largest first, and those without a value last", () => {
  const depth = (count: number) => ({ ...queue("").depth, queued: count, dead: 10 - count })
  const queues = [
    queue("b", { depth: depth(1), oldest_waiting_ms: 5, rates: { failed: 3 } }),
    queue("c", { depth: depth(2), oldest_waiting_ms: undefined, rates: { failed: 3 } }),
    queue("a", { depth: depth(3), oldest_waiting_ms: 9 }),
  ]
  const by = (order: string, isReversed = false) =>
    sortQueues(queues, order, isReversed)
      .map(({ queue }) => queue)
      .join("")
  expect([by("name"), by("name", true)]).toEqual(["abc", "cba"])
  expect([by("queued"), by("queued", true), by("dead")]).toEqual(["acb", "bca", "bca"])
  expect([by("oldest"), by("oldest", true), by("fail"), by("fail", true)]).toEqual([
    "abc",
    "bac",
    "bca",
    "bca",
  ])
})

test("colors mark the title, dead tasks, paused queues and queues without workers, and change no width", () => {
  const queues = [
    queue("chosen", { paused: true }),
    queue("dark", { paused: true }),
    queue("idle", { workers: { count: 0 } }),
    queue("\x1b[31mred\u202e", { rates: { failed: 2 } }),
  ]
  const state = seen({ queues, selected: "chosen", fault: "\x1b[2J", message: "\x1b[2J" })
  const size = { columns: 100, rows: 24 }
  const plain = renderScreen(state, size)
  const colored = renderScreen(state, { ...size, colored: true })
  expect(colored.map(line => Bun.stripANSI(line))).toEqual(plain)
  expect(colored[4]).toStartWith("\x1b[7m> chosen [paused]")
  expect(colored[4]!.split("\x1b")).toHaveLength(3)
  expect(colored[5]).toContain("\x1b[33m [paused]\x1b[0m")
  expect(colored[6]).toContain("\x1b[31m [no workers]\x1b[0m")
  expect(colored[7]).toContain("?[31mred?")
  expect(colored[7]).toContain("\x1b[31m    1.2M\x1b[0m")
})

test("every terminal size is filled exactly, and the selected queue stays visible", () => {
  const queues = Array.from({ length: 200 }, (_, i) => queue(`queue-${i}`))
  const workers = Array.from({ length: 50 }, (_, i) => ({
    worker: `worker-${i}`,
    state: "live" as const,
    in_hand: 1,
    done: 1,
    failed: 1,
    queues: ["a"],
  }))
  for (const columns of [20, 80, 133])
    for (const rows of [8, 24, 60])
      for (const selected of ["queue-0", "queue-77", "queue-199"]) {
        const lines = renderScreen(seen({ queues, workers, selected }), { columns, rows })
        expect(lines).toHaveLength(rows)
        expect(Math.max(...lines.map(line => Bun.stringWidth(line)))).toBeLessThanOrEqual(columns)
        expect(lines.filter(line => line.startsWith(">"))).toHaveLength(1)
      }
})

test("a missing answer is shown beside the previous state", () => {
  const lines = renderScreen(seen({ fault: "503 Redis is away" }), { columns: 80, rows: 24 })
  expect(lines[0]).toContain("NO ANSWER: 503 Redis is away")
  expect(lines[4]).toContain("mail")
})

test("the dead tasks of a queue are grouped by their cause", () => {
  const at = Date.now() - 5_000
  const sample = { task_id: "mail.1", error: "no route 7" }
  const group = {
    fingerprint: "f",
    type: "send",
    reason: "failed" as const,
    error: "no route #",
    count: 7,
    sample,
  }
  const groups = [{ ...group, first_at: at, last_at: at }]
  const lines = renderScreen(seen({ selected: "mail", groups }), { columns: 80, rows: 24 })
  expect(lines[4]!.trim().split(/ +/)).toEqual([
    "7",
    expect.stringMatching(/^5\.\ds$/),
    "send",
    "failed",
    "no",
    "route",
    "#",
  ])
  expect(renderScreen(seen({ selected: "mail", groups: [] }), { columns: 80, rows: 24 })[3]).toContain(
    "Queue mail has no dead tasks.",
  )
})

test("the schedules that run next are listed with their newest run and their counts", () => {
  const policies = { on_missed: "one", on_overlap: "allow" } as const
  const counts = { fired: 1_200, missed: 3, skipped: 0 }
  const common = { queue: "mail", cron: "* * * * *", ...policies, ...counts, paused: false }
  const last = { task_id: "mail:report-1", planned_at: 1, state: "done" as const }
  const schedules = [
    { ...common, schedule: "mail:report", next_at: Date.now() + 90_500, last },
    { ...common, schedule: "mail:full", next_at: Date.now() - 60_000, last },
    { ...common, schedule: "mail:jitter", next_at: Date.now() - 60_000, jitter_ms: 90_000, last },
    { ...common, schedule: "mail:off", paused: true },
  ]
  const lines = renderScreen(seen({ selected: "mail", schedules }), { columns: 80, rows: 24 })
  expect(lines.slice(3, 8).map(line => line.trim().split(/ +/).join(" "))).toEqual([
    "SCHEDULE NEXT IN LAST FIRED MISSED SKIPPED",
    expect.stringMatching(/^mail:report (90|91)s done 1,200 3 0$/),
    "mail:full late done 1,200 3 0",
    "mail:jitter 0.0s done 1,200 3 0",
    "mail:off paused - 1,200 3 0",
  ])
  expect(lines.at(-1)).toBe("esc back  q quit")
  expect(renderScreen(seen({ schedules: [] }), { columns: 80, rows: 24 })[3]).toBe("  No schedules.")
})

test("the groups of a queue are listed with what they wait for", () => {
  const view = { queue: "mail", waiting: 1_200, processing: 2, oldest_waiting_ms: 5_000 }
  const queueGroups = [
    { ...view, group: "acme", held: { cause: "concurrency" as const } },
    { ...view, group: "small\u202e tenant", waiting: 1 },
  ]
  const lines = renderScreen(seen({ selected: "mail", queueGroups }), { columns: 80, rows: 24 })
  expect(lines.slice(3, 6).map(line => line.trim().split(/ +/).join(" "))).toEqual([
    "GROUP WAITING RUNNING OLDEST HELD",
    "acme 1,200 2 5.0s concurrency",
    "small? tenant 1 2 5.0s -",
  ])
  expect(renderScreen(seen({ selected: "mail", queueGroups: [] }), { columns: 80, rows: 24 })[3]).toBe(
    "  Queue mail has no groups.",
  )
})

test("untrusted text cannot move the cursor, reverse text or exceed its column", () => {
  const hostile = [
    "\x1b[2J\x1b]0;title\x07",
    "\u202eevil\u2066",
    "a\r\nb\tc",
    "\u009b31m",
    "\ud800",
    "\u2028",
    "\u200b\u200d",
  ]
  for (const text of hostile) expect(safeText(text, 40)).toMatch(/^[ -~]*$/)
  expect(safeText("\x1b[31mred", 40)).toBe("?[31mred")
  for (const text of [
    "界".repeat(500_000),
    "x".repeat(1_000_000),
    "e\u0301".repeat(99),
    `e${"\u0301".repeat(999)}`,
    "👩🏽".repeat(99),
  ])
    expect(Bun.stringWidth(safeText(text, 20))).toBeLessThanOrEqual(20)
  expect(safeText("a".repeat(21), 20)).toBe(`${"a".repeat(19)}…`)
  expect(safeText("anything", 0)).toBe("")
})

test("numbers and times fit their columns", () => {
  for (const number of [0, 0.04, 9.96, 999_999, 999_999_999, 1e12, Number.NaN, undefined])
    expect(formatCount(number).length).toBeLessThanOrEqual(7)
  for (const ms of [0, 9_999, 99_999, 5_999_999, 359_999_999, 1e12, undefined])
    expect(formatAge(ms).length).toBeLessThanOrEqual(7)
})

const command = [process.execPath, join(import.meta.dir, "../../lib/process/top.ts")]
const reach = (url: string, token = TOKEN) => ({
  PATH: process.env.PATH ?? "",
  BROKER_URL: url,
  API_SECRET_TOKEN: token,
})

/** Runs it on a terminal of its own. */
function onTerminal(broker: TestBroker) {
  let text = ""
  const hear = (bytes: Uint8Array) => {
    text += Buffer.from(bytes).toString()
  }
  const child = Bun.spawn(command, {
    env: { ...reach(broker.url), TERM: "xterm" },
    terminal: { cols: 80, rows: 24, data: (_, bytes) => hear(bytes) },
  })
  return {
    child,
    terminal: child.terminal!,
    get text() {
      return text
    },
    /** The current screen: each drawing starts at the top. */
    get picture() {
      return Bun.stripANSI(text.slice(text.lastIndexOf("\x1b[H") + 3))
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL")
      await child.exited
      child.terminal!.close()
    },
  }
}

async function brokerWith(...queues: string[]): Promise<TestBroker> {
  const broker = await testBroker({}, (await sharedRedis()).socket)
  for (const queue of queues) await broker.call("POST", "/submit", { type: "a", queue })
  return broker
}

test("on a terminal it draws, follows the size, reacts to keys, and restores the screen", async () => {
  const [a, b] = [freshName(), freshName()].sort() as [string, string]
  await using broker = await brokerWith(a, b)
  await using top = onTerminal(broker)
  await until(
    "both queues are there",
    () => top.picture.includes(`> ${a} `) && top.picture.includes(` ${b} `),
  )
  expect(top.text).toStartWith("\x1b[?1049h\x1b[?25l")
  expect(top.picture.split("\r\n")).toHaveLength(24)
  top.terminal.resize(72, 12) // names that other tests made long still fit
  await until("it has shrunk", () => top.picture.split("\r\n").length === 12)
  top.terminal.write("\x1b[B")
  await until("the second is chosen", () => top.picture.includes(`> ${b} `))
  top.terminal.write("p")
  await until("it is paused", () => top.picture.includes(`> ${b} [paused]`))
  expect(await (await broker.call("GET", `/queues/${b}`)).json()).toMatchObject({ paused: true })
  top.terminal.write("p")
  await until("it is resumed", () => !top.picture.includes("[paused]") && top.picture.includes("is resumed"))
  top.terminal.write("\r")
  await until("its dead tasks are shown", () => top.picture.includes(`Queue ${b} has no dead tasks.`))
  top.terminal.write("xo")
  await until("it is sorted", () => top.picture.includes("sorted by queued"))
  top.terminal.write("r")
  await until("it is reversed", () => top.picture.includes("sorted by queued, reversed"))
  top.terminal.write("q")
  expect(await top.child.exited).toBe(0)
  await until("it is put back", () => top.text.endsWith("\x1b[?25h\x1b[?1049l"))
})

test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("%s restores the terminal", async signal => {
  await using broker = await brokerWith()
  await using top = onTerminal(broker)
  await until("it draws", () => top.picture.includes("No queues yet"))
  top.child.kill(signal)
  expect(await top.child.exited).toBe(signal === "SIGHUP" ? 129 : 0)
  await until("it is put back", () => top.text.endsWith("\x1b[?25h\x1b[?1049l"))
})

test("without a terminal it prints the queues once, without control characters", async () => {
  const name = freshName()
  await using broker = await brokerWith(name)
  const child = Bun.spawn(command, { env: reach(broker.url), stdout: "pipe" })
  const text = await child.stdout.text()
  expect(await child.exited).toBe(0)
  expect(text).toMatch(new RegExp(`^ {2}${name} \\[no workers\\] +1 +0 +0 +0 +[0-9.]+s( |$)`, "m"))
  expect(text).toMatch(/^[\n -~]+$/)
})

test("without a terminal it sorts as asked, and FORCE_COLOR colors its output", async () => {
  const [a, b] = [freshName(), freshName()].sort() as [string, string]
  await using broker = await brokerWith(a, b, b)
  const print = async (args: string[], env = {}) => {
    const child = Bun.spawn([...command, ...args], { env: { ...reach(broker.url), ...env }, stdout: "pipe" })
    return child.stdout.text()
  }
  const names = (text: string) => [a, b].sort((x, y) => text.indexOf(` ${x} `) - text.indexOf(` ${y} `))
  expect(names(await print(["--sort", "queued"]))).toEqual([b, a])
  expect(names(await print(["--sort=name"]))).toEqual([a, b])
  expect(names(await print(["--sort=name", "--reverse"]))).toEqual([b, a])
  expect(await print([], { FORCE_COLOR: "1" })).toContain("\x1b[31m [no workers]\x1b[0m")
})

test.each(["--sort", "--sort=color", "--sort=-dead"])("%s is refused with the known orders", async arg => {
  const child = Bun.spawn([...command, arg], { env: reach("http://127.0.0.1:1"), stderr: "pipe" })
  expect(await child.stderr.text()).toStartWith(
    "top: --sort takes one of name, queued, delayed, running, dead,",
  )
  expect(await child.exited).toBe(2)
})

test("a broker that does not answer or refuses the token causes a message and exit code 1", async () => {
  await using broker = await brokerWith()
  for (const [url, token, why] of [
    ["http://127.0.0.1:1", TOKEN, "No answer from http://127.0.0.1:1: "],
    [broker.url, "another-token", "Unauthorized (401 unauthorized)"],
  ] as const) {
    const child = Bun.spawn(command, { env: reach(url, token), stdout: "pipe", stderr: "pipe" })
    expect(await child.stderr.text()).toContain(why)
    expect([await child.exited, await child.stdout.text()]).toEqual([1, ""])
  }
})
