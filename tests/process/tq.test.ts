/** `bun run tq`: what its commands do and print, its exit codes, and that untrusted text cannot control a terminal. */
import { expect, setDefaultTimeout, test } from "bun:test"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { commandHelp } from "../../lib/process/tq.ts"
import { COMMANDS } from "../../lib/process/tq-commands.ts"
import { table } from "../support/documents.ts"
import { type TestBroker, TOKEN, until } from "../support/harness.ts"
import { directory, Process, ROOT } from "../support/processes.ts"
import { run, scene } from "../support/tq.ts"

setDefaultTimeout(180_000)

/** What a terminal interprets. */
const INTERPRETED = /[[\p{Cc}--\n]\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/v
const HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\u009b31m\u202etxt\u2066\u2028\x7f"

const hold = (broker: TestBroker, queue: string, body: object = {}) =>
  broker.call("POST", `/queues/${queue}/pause`, body)

test("submit --wait prints the result", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, env, tq } = await scene(all)
  expect(await tq("submit", "add", "[1,2,3]", "--wait", "--queue", queue)).toEqual({
    code: 0,
    out: "6\n",
    error: "",
  })
  // Through the script of package.json, whose shell must not change an argument.
  const text = `it's "q" $HOME \`x\` \\ *`
  const script = { command: [process.execPath, "run", "tq"], cwd: ROOT }
  const args = ["submit", "echo", JSON.stringify(text), "--wait", "--queue", queue]
  expect(await run(env, args, script)).toMatchObject({ code: 0, out: `${JSON.stringify(text)}\n` })
})

test("the payload may come from stdin, and reaches the broker with all digits of its numbers", async () => {
  await using all = new AsyncDisposableStack()
  const { broker, queue, env } = await scene(all)
  await hold(broker, queue)
  const payload = '{"id":12345678901234567890,"rate":1.10,"__proto__":{"a":[1e400]}}'
  const submitted = await run(env, ["submit", "a", "-", "--queue", queue], { stdin: `\n ${payload}` })
  expect(submitted.code).toBe(0)
  const id = submitted.out.trim()
  expect(await (await broker.call("GET", `/status/${id}`)).text()).toContain(`"payload":${payload}`)
  const shown = await run(env, ["status", id])
  expect(shown.out).toContain(payload)
  const empty = await run(env, ["submit", "a", "-", "--queue", queue])
  expect([empty.code, empty.error.startsWith("tq submit: the payload is not JSON")]).toEqual([2, true])
})

test("every option of submit is part of the task", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  const options = [
    ...["--queue", queue, "--priority", "9", "--delay", "10m", "--id", "mine", "--unique", "k"],
    ...["--group", "acme", "--retries", "7", "--lease", "1.5m", "--expires", "2h"],
    ...["--meta", "team=a=b", "--meta", "day=1"],
  ]
  const first = await tq("submit", "later", ...options)
  expect(first).toEqual({ code: 0, out: `${queue}:mine\n`, error: "" })
  const keyed = () => tq("submit", "later", "--queue", queue, "--key", `key-${queue}`)
  expect(await keyed()).toEqual(await keyed())
  expect(await client.status(`${queue}:mine`)).toMatchObject({
    status: "scheduled",
    priority: 9,
    max_retries: 7,
    timeout_ms: 90_000,
    group: "acme",
    unique_key: "k",
    meta: { team: "a=b", day: "1" },
    payload: {},
  })
})

test("a task that is dead, cancelled, or does not end in time makes the exit code 1 and says why", async () => {
  await using all = new AsyncDisposableStack()
  const { broker, queue, tq } = await scene(all)
  const dead = await tq(
    "submit",
    "fail",
    '{"message":"no route"}',
    "--retries",
    "0",
    "--wait",
    "--queue",
    queue,
  )
  expect([dead.code, dead.out]).toEqual([1, ""])
  expect(dead.error).toMatch(/^tq submit: \S+ is dead \(failed\): Error: no route\n/)
  const id = dead.error.split(" ")[2]!
  expect((await tq("wait", id)).code).toBe(1)
  const json = await tq("wait", id, "--json")
  expect([json.code, JSON.parse(json.out)]).toMatchObject([1, { id, status: "dead", reason: "failed" }])
  await hold(broker, queue)
  const { out } = await tq("submit", "add", "[1]", "--queue", queue)
  const late = await tq("wait", out.trim(), "--timeout", "20ms")
  expect(late).toEqual({
    code: 1,
    out: "",
    error: `tq wait: ${out.trim()} has not ended within 20 ms: it is queued\n`,
  })
  expect(await tq("cancel", out.trim())).toEqual({ code: 0, out: `${out.trim()} is cancelled\n`, error: "" })
  expect(await tq("wait", out.trim())).toMatchObject({
    code: 1,
    error: `tq wait: ${out.trim()} is cancelled\n`,
  })
})

test("queues are paused with a reason, explained, listed and resumed", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  expect(await tq("pause", queue, "--reason", "the mail server is down")).toEqual({
    code: 0,
    out: `Queue ${queue} is paused\n`,
    error: "",
  })
  const id = (await tq("submit", "add", "[1]", "--queue", queue)).out.trim()
  expect((await tq("why", id)).out).toContain("the mail server is down")
  expect((await tq("queues")).out).toMatch(new RegExp(`^${queue} +1 +0 +0 +0 .* paused$`, "m"))
  const { queues } = JSON.parse((await tq("queues", "--json")).out)
  expect(queues.find((view: { queue: string }) => view.queue === queue)).toMatchObject({ paused: true })
  expect((await tq("resume", queue)).code).toBe(0)
  expect(await tq("wait", id)).toMatchObject({ code: 0, out: "1\n" })
  expect(await client.queue(queue)).toMatchObject({ paused: false })
})

test("dead tasks are listed, grouped, retried and deleted", async () => {
  await using all = new AsyncDisposableStack()
  const { queue, client, tq } = await scene(all)
  const tasks = Array.from({ length: 3 }, () => ({
    type: "fail",
    queue,
    max_retries: 0,
    payload: { message: "no route" },
  }))
  await client.submitMany(tasks)
  await until("all are dead", async () => (await client.queue(queue)).depth.dead === 3)
  const filter = ["--queue", queue, "--newer-than", "1d", "--reason", "failed", "--error", "no route"]
  const list = (await tq("dead", ...filter)).out.trimEnd().split("\n")
  expect([list.length, list[0]]).toEqual([4, expect.stringMatching(/^TASK +AGE +TYPE +REASON +ERROR$/)])
  expect((await tq("dead", ...filter, "--limit", "2")).out).toEndWith(
    "There are more: --limit 20 shows them.\n",
  )
  const groups = (await tq("dead", "groups", "--queue", queue)).out
  expect(groups).toMatch(/^3 .* fail +failed +Error: no route$/m)
  expect(JSON.parse((await tq("dead", "--queue", queue, "--json")).out).tasks).toHaveLength(3)
  expect((await tq("bulk", "retry", ...filter, "--dry-run")).out).toBe("3 tasks would be changed\n")
  const canary = await tq("bulk", "retry", ...filter, "--canary", "--wait", "--note", "a new release")
  expect(canary).toMatchObject({ code: 1, error: expect.stringMatching(/^tq bulk retry: it has stopped: /) })
  expect(canary.out).toMatch(/^reason +a new release$/m)
  expect(canary.out).toMatch(/^done +1$/m)
  await until("all are dead again", async () => (await client.queue(queue)).depth.dead === 3)
  await client.pauseQueue(queue)
  const id = list[1]!.split(" ")[0]!
  expect(await tq("retry", id)).toMatchObject({ code: 0, out: `${id} is queued again\n` })
  const one = await tq("bulk", "retry", "--queue", queue, "--limit", "1", "--wait")
  expect([one.code, one.out]).toEqual([0, expect.stringMatching(/^done +1$/m)])
  const [last] = (await client.dlq({ queue })).tasks
  expect((await tq("delete", last!.id)).out).toBe(`${last!.id} is deleted\n`)
  expect((await tq("dead", "--queue", queue)).out).toBe("No dead task matches.\n")
})

test("tail prints events until Ctrl-C, and ends if nobody reads them", async () => {
  await using all = new AsyncDisposableStack()
  const { broker, queue, env } = await scene(all)
  const submit = () => broker.call("POST", "/submit", { type: "add", payload: [1], queue })
  const program = { BUN: process.execPath, TQ: join(ROOT, "lib/process/tq.ts"), QUEUE: queue }
  const start = (cmd: string[]) => {
    const child = Bun.spawn(cmd, {
      env: { PATH: process.env.PATH ?? "", ...env, ...program },
      stdout: "pipe",
      stderr: "pipe",
    })
    all.defer(() => child.kill("SIGKILL"))
    let text = ""
    const ended = (async () => {
      for await (const chunk of child.stdout) text += Buffer.from(chunk).toString()
    })()
    return { child, ended, text: () => text }
  }
  const tail = start([program.BUN, program.TQ, "tail", "--queue", queue, "--event", "submitted,done"])
  const piped = start([
    "bash",
    "-c",
    '"$BUN" "$TQ" tail --json --queue "$QUEUE" | head -n 1; echo $PIPESTATUS',
  ])
  await until("the pipe has ended, and the other has printed events", async () => {
    await submit()
    await Bun.sleep(50)
    return piped.child.exitCode !== null && tail.text() !== ""
  })
  await piped.ended
  const [line, code] = piped.text().split("\n")
  expect([JSON.parse(line!), code]).toMatchObject([{ queue, at: expect.any(Number) }, "141"])
  expect(tail.text()).toMatch(/^[\d:.]{12} (submitted|done) +t\S+/)
  tail.child.kill("SIGINT")
  expect(await tail.child.exited).toBe(0)
})

test("wait goes on while the broker restarts, and ends at Ctrl-C with exit code 130", async () => {
  let requests = 0
  const serve = (answer: () => Response | Promise<Response>, port = 0) =>
    Bun.serve({
      hostname: "127.0.0.1",
      port,
      fetch: () => {
        requests++
        return answer()
      },
    })
  const broker = serve(() => Response.json({ id: "a", status: "queued" }))
  const { port } = broker
  const env = { BROKER_URL: `http://127.0.0.1:${port}`, API_SECRET_TOKEN: TOKEN }
  const cmd = [process.execPath, join(ROOT, "lib/process/tq.ts"), "wait", "a"]
  await using patient = new Process({ cmd, env })
  await until("it waits", () => requests > 1)
  await broker.stop(true)
  await using again = serve(() => Response.json({ id: "a", status: "done", result: 3 }), port)
  expect([await patient.ended(), patient.stdout, patient.stderr]).toEqual([0, "3\n", ""])
  await again.stop(true)
  requests = 0
  await using silent = serve(() => new Promise(() => {}), port)
  await using interrupted = new Process({ cmd, env })
  await until("it waits", () => requests === 1)
  expect([await interrupted.stop("SIGINT"), interrupted.stdout]).toEqual([130, ""])
  await silent.stop(true)
})

test("the guide for operators names every command", async () => {
  const rows = await table("lib/process/operations.md", "| command | does |")
  const named = rows.flatMap(([commands]) =>
    [...commands!.matchAll(/`([a-z]+(?: [a-z-]+)?)/g)].map(([, name]) => name!),
  )
  expect(named.sort()).toEqual(Object.keys(COMMANDS).sort())
})

test.each([
  [[], "Submits tasks"],
  [["stauts"], 'tq: there is no command "stauts"; the commands are submit, status, '],
  [[HOSTILE], "tq: there is no command "],
  [["submit"], "tq submit: <type> is missing. See: bun run tq submit --help"],
  [["submit", "a", "[1]", HOSTILE], "tq submit: unexpected argument "],
  [["submit", "a", "{1}"], "tq submit: the payload is not JSON: "],
  [["submit", "a", "hello"], `tq submit: the payload is not JSON: `],
  [
    ["submit", "a", "--delay", "5"],
    'tq submit: --delay takes a time such as 500ms, 10s, 5m, 2h or 1d, not "5"',
  ],
  [["submit", "a", "--priority", "high"], 'tq submit: --priority takes a whole number, not "high"'],
  [["submit", "a", "--timeout", "1s"], "tq submit: --timeout requires --wait"],
  [["submit", "a", "--meta", "x"], 'tq submit: --meta takes name=value, not "x"'],
  [["submit", "a", "--prot\x1b[2J"], "tq submit: Unknown option '--prot\\u001b[2J'"],
  [
    ["dead", "--reason", "angry"],
    "tq dead: --reason takes failed, crashed, timed_out, expired, released, not",
  ],
  [["bulk", "purge"], "tq bulk purge: a filter is missing. To choose all tasks, give --all"],
  [["bulk", "retry", "--patch", "{"], "tq bulk retry: a filter is missing"],
  [["bulk", "retry", "--all", "--patch", "{"], "tq bulk retry: --patch takes JSON such as"],
  [["bulk", "purge", "--all", "--state", "old"], "tq bulk purge: --state takes dead, queued, delayed, done"],
  [["bulk", HOSTILE], "tq bulk: there is no command "],
  [["schedules", "list"], 'tq schedules: there is no command "schedules list"; there are schedules get, '],
  [["schedules", "set", "s"], "tq schedules set: <member=value>... is missing"],
  [
    ["schedules", "preview", "cron"],
    'tq schedules preview: "cron" is not member=value: put the name of a member and = before it',
  ],
  [["queues", "set", "q", "rate=20"], "tq queues set: rate takes a rate such as 20/s or 100/5m, or JSON"],
  [
    ["groups", "set", "q", "g", "rate=fast"],
    "tq groups set: rate takes a rate such as 20/s or 100/5m, or JSON",
  ],
  [["queues", "set", "q", "a..b=1"], 'tq queues set: "a..b=1" is not member=value'],
  [["schedules", "preview", "starts_at=2027-01-99"], "tq schedules preview: starts_at takes a time such as"],
  [["workers", "--limit", "0"], "tq workers: --limit takes a whole number of 1 or more, not 0"],
  [["workers", "--state", "dead"], "tq workers: --state takes live, draining, stale, gone, not"],
  [["tasks", "--state", "waiting"], "tq tasks: --state takes scheduled, "],
  [["history", "--last", "1 day"], "tq history: --last takes a time such as"],
  [["tail", "--event", "died"], "tq tail: --event takes submitted, "],
] as const)("wrong arguments %j end it with exit code 2", async (args, message) => {
  const { code, out, error } = await run({ BROKER_URL: "http://127.0.0.1:1", API_SECRET_TOKEN: TOKEN }, args)
  expect([code, out]).toEqual([2, ""])
  expect(error).toStartWith(message)
  expect(error).not.toMatch(INTERPRETED)
})

test("a refusal, a broker that cannot be reached and a missing token make the exit code 1 and say why", async () => {
  await using all = new AsyncDisposableStack()
  const { env, queue } = await scene(all)
  const wrong = [
    [env, ["status", "nope"], "tq status: Task not found (404 task_not_found)"],
    [env, ["submit", "a", "--queue", "a b"], "tq submit: "],
    [env, ["retry", `${queue}:nope`], "tq retry: Task not found in DLQ (404 not_in_dlq)"],
    [{ ...env, API_SECRET_TOKEN: "other" }, ["tail"], "tq tail: Unauthorized (401 unauthorized)"],
    [
      { ...env, BROKER_URL: "http://127.0.0.1:1" },
      ["tail"],
      "tq tail: the broker at http://127.0.0.1:1 cannot",
    ],
    [
      { ...env, BROKER_URL: "http://127.0.0.1:1" },
      ["wait", "a"],
      "tq wait: the broker at http://127.0.0.1:1",
    ],
    [
      { BROKER_URL: env.BROKER_URL, DATA_DIR: "/nowhere" },
      ["queues"],
      "tq queues: there is no token: set API_",
    ],
    [{ ...env, BROKER_URL: "localhost" }, ["queues"], "The configuration cannot be used:\n  BROKER_URL"],
  ] as const
  for (const [given, args, message] of wrong) {
    const { code, out, error } = await run(given, args)
    expect([args, code, out]).toEqual([args, 1, ""])
    expect(error).toStartWith(message)
  }
})

test("the token of a broker on this machine is found in its data directory", async () => {
  await using all = new AsyncDisposableStack()
  const { env, queue } = await scene(all)
  await using dir = await directory()
  const DATA_DIR = join(dir.path, ".data")
  await mkdir(DATA_DIR)
  await writeFile(join(DATA_DIR, "token"), `${TOKEN}\n`)
  expect(await run({ BROKER_URL: env.BROKER_URL, DATA_DIR }, ["pause", queue])).toMatchObject({ code: 0 })
})

test("untrusted text cannot control the terminal, in either form", async () => {
  await using all = new AsyncDisposableStack()
  const { broker, queue, client, tq } = await scene(all, { maxBodyBytes: 8_388_608 })
  const type = HOSTILE.slice(0, 100)
  await client.submit({
    type,
    queue: `${queue}x`,
    payload: { [HOSTILE]: HOSTILE },
    meta: { a: HOSTILE },
    max_retries: 0,
  })
  const [task] = (await client.lease({ queues: [`${queue}x`] })).tasks
  const { id: task_id, lease } = task!
  await client.extend({ task_id, lease, progress: HOSTILE, log: [HOSTILE] })
  await client.ack({ task_id, lease, status: "failed", error: `${HOSTILE}${"x".repeat(5_000)}\n${HOSTILE}` })
  await hold(broker, `${queue}x`, { reason: HOSTILE })
  const { task_id: waiting } = await client.submit({ type, queue: `${queue}x` })
  for (const args of [
    ["status", task_id],
    ["wait", task_id],
    ["why", waiting],
    ["dead", "--queue", `${queue}x`],
    ["dead", "groups", "--queue", `${queue}x`],
    ["queues"],
  ])
    for (const json of [[], ["--json"]]) {
      const { out, error } = await tq(...args, ...json)
      expect([args, INTERPRETED.test(out + error)]).toEqual([args, false])
      if (json.length > 0) JSON.parse(out)
    }
  const { payload } = JSON.parse((await tq("status", task_id, "--json")).out)
  expect(payload).toEqual({ [HOSTILE]: HOSTILE })
})

test("the help of every command fits 80 columns, names its options and has examples that it accepts", async () => {
  expect(Object.keys(COMMANDS)).toEqual(
    expect.arrayContaining(["submit", "status", "wait", "why", "retry", "cancel", "pause", "resume", "tail"]),
  )
  const pages = await Promise.all(
    Object.keys(COMMANDS).map(async name => [name, await run({}, [...name.split(" "), "--help"])] as const),
  )
  for (const [name, page] of pages) {
    expect(page).toEqual({ code: 0, out: `${commandHelp(name)}\n`, error: "" })
    const lines = page.out.split("\n")
    expect([name, Math.max(...lines.map(line => line.length)) <= 80]).toEqual([name, true])
    expect(lines[0]).toStartWith(`bun run tq ${name}`)
    for (const option of [...Object.keys(COMMANDS[name]!.options ?? {}), "json", "help"])
      expect(page.out).toContain(`  --${option}`)
    for (const example of COMMANDS[name]!.examples) {
      expect(example).toStartWith(name)
      expect(page.out).toContain(`  bun run tq ${example}`)
      // Arguments that are accepted get as far as the missing token.
      const { error } = await run(
        { DATA_DIR: "/nowhere" },
        ["-c", `tq() { "$BUN" "$TQ" "$@"; }; tq ${example.replace("< payload.json", "")}`],
        {
          command: ["env", `BUN=${process.execPath}`, `TQ=${join(ROOT, "lib/process/tq.ts")}`, "bash"],
        },
      )
      expect(error).toContain("there is no token")
    }
  }
})
