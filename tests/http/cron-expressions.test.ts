/** Which cron expressions are taken, and how the others are refused. */
import { expect, test } from "bun:test"
import { ServedQueue } from "../support/served-queue.ts"

test.each([
  ["0 0 L * *", /day of `cron` cannot be read: L, W, #, \? and H are not supported.*1 to 31/],
  ["0 0 15W * *", /day of `cron` cannot be read.*not supported/],
  ["0 0 ? * mon", /day of `cron` cannot be read.*not supported/],
  ["0 0 * * fri#2", /weekday of `cron` cannot be read.*not supported/],
  ["H * * * *", /minute of `cron` cannot be read.*not supported/],
  ["61 * * * *", /minute of `cron` cannot be read.*0 to 59/],
  ["0 24 * * *", /hour of `cron` cannot be read.*0 to 23/],
  ["0 0 * 13 *", /month of `cron` cannot be read.*1 to 12/],
  ["0 0 * * funday", /weekday of `cron` cannot be read.*sun to sat/],
  ["0 0 * * fri-mon", /weekday of `cron` cannot be read.*ascending/],
  ["*/90 * * * *", /minute of `cron` has a step above.*`every_ms`/],
  ["0 5,*/36 * * *", /hour of `cron` has a step above.*`every_ms`/],
  ["0 0 12 * * mon", /five fields.*has 6/],
  ["0 7 * *", /five fields.*has 4/],
  [" \t ", /five fields.*has none/],
  ["@every 5m", /nicknames.*`every_ms`/],
  ["@reboot", /nicknames/],
  ["0 7 * * \u{1f600}", /weekday of `cron` cannot be read/u],
  ["0 0 30 2 *", /at least one day/],
])("the refusal of %j says what would be right", async (cron, text) => {
  await using q = await ServedQueue.open()
  const { status, body } = await q.ask("PUT", `/schedules/${q.queue}:s`, { cron, task: { type: "t" } })
  expect([status, body.field]).toEqual([400, "cron"])
  expect(body.detail).toMatch(text)
})

test.each(["<b>", "<b> * * * *", "*/<b> * * * *", "1-<b> * * * *", "@<b>"])(
  "the refusal of %j does not repeat it",
  async cron => {
    await using q = await ServedQueue.open()
    const { status, body } = await q.ask("POST", "/schedules/preview", { cron })
    expect(status).toBe(400)
    expect(JSON.stringify(body)).not.toContain("<b>")
  },
)

test("spaces around the fields of a cron expression do not matter, and every right form is taken", async () => {
  await using q = await ServedQueue.open()
  const put = (cron: string) => q.ask("PUT", `/schedules/${q.queue}:s`, { cron, task: { type: "t" } })
  expect((await put(" 0\t7  * * MON-fri \n")).body.changed).toBe(true)
  expect((await q.ask("GET", `/schedules/${q.queue}:s`)).body.cron).toBe("0 7 * * MON-fri")
  expect((await put("0 7 * * MON-fri")).body.changed).toBe(false)
  for (const cron of [
    "*/60 */24 */31 */12 */7",
    "0,15,30-40/5 0 1 jan,JUL 0-7",
    "0 0 * * 7",
    "@Midnight",
    "@annually",
  ])
    expect([cron, (await put(cron)).status]).toEqual([cron, 200])
})
