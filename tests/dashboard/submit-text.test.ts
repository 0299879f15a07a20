/** The curl command of the dashboard, run by bash, and the labels that people type. */
import { expect, test } from "bun:test"
import { $ } from "bun"
import { curlOf, readLabels, shellWord, writeLabels } from "../../lib/dashboard/submit-text.ts"
import type { TaskView } from "../../lib/wire/inspecting.ts"
import { membersOf } from "../../lib/wire/json-text.ts"
import { freshName, TOKEN, testBroker } from "../support/harness.ts"

/** JSON texts that a shell would change if they were not quoted. */
const HOSTILE = [
  `{"a": "it's $HOME \`id\` $(touch /tmp/hostile) !! !x \\\\ \\" '' '\\\\'' ; & | > < * ? ~ # %s"}`,
  "12345678901234567890",
  `"'"`,
  `"\\u0000\\n\\t\\\\"`,
  '["\\u2028 é 漢 😀", 1.0,\n\t"-- --data @file"]',
  "null",
]

test("the curl command submits the same task, whatever its texts contain", async () => {
  await using broker = await testBroker()
  const queue = freshName()
  const view = async (id: string) => {
    const text = await (await broker.call("GET", `/status/${id}`)).text()
    return { task: JSON.parse(text) as TaskView, payload: new Map(membersOf(text)).get("payload")! }
  }
  for (const payload of HOSTILE) {
    const members = {
      type: 'it\'s a "type" with $VARIABLES and `code`',
      queue,
      priority: 7,
      max_retries: 1,
      expires_in_ms: 3_600_000,
      group: "o'group $(id)",
      meta: { note: "it's !important" },
      backoff: { kind: "fixed", delay_ms: 5 },
      redact: true,
    }
    const body = `${JSON.stringify(members).slice(0, -1)},"payload":${payload}}`
    const { task_id } = (await (await broker.call("POST", "/submit", body)).json()) as { task_id: string }
    const first = await view(task_id)
    const command = curlOf(first.task, first.payload, broker.url)!
    expect(command).not.toContain(TOKEN)
    const env = { PATH: process.env.PATH, API_SECRET_TOKEN: TOKEN }
    const answer = await $`bash -c ${command}`.env(env).json()
    expect([payload, answer]).toEqual([payload, { status: "queued", task_id: expect.any(String) }])
    const second = await view(answer.task_id)
    expect(second.payload).toBe(first.payload)
    const { id: _id, created_at: _created, expires_at: expires, ...same } = first.task
    const { id: _other, created_at, expires_at, ...found } = second.task
    expect(found).toEqual(same)
    expect(expires_at! - created_at).toBe(expires! - first.task.created_at)
  }
  expect(await Bun.file("/tmp/hostile").exists()).toBe(false)
})

test("a payload that is too large for a command gets none", () => {
  const task = { type: "t", queue: "q", created_at: 1 } as TaskView
  expect(curlOf(task, `"${"x".repeat(100_000)}"`, "http://b")).toStartWith("curl ")
  expect(curlOf(task, `"${"'".repeat(50_000)}"`, "http://b")).toBeUndefined()
})

test("a word for the shell stays the same word", async () => {
  for (const text of ["", "a b", "'", "''", "\\", "$x", "\n", "-n"])
    expect(await $`bash -c ${`printf '%s' ${shellWord(text)}`}`.text()).toBe(text)
})

test("labels are written and read one per line", () => {
  const meta = { team: "mail", note: "a=b =c" }
  expect(readLabels(writeLabels(meta))).toEqual(meta)
  expect(readLabels("\n team =x\n\n")).toEqual({ team: "x" })
  for (const text of ["team", "=x"]) expect(() => readLabels(text)).toThrow("name=value")
})
