/** The charts that show the history of the broker, in real Chromium on a real broker. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test"
import { History } from "../../lib/dashboard/history.ts"
import { completePoints, labelsOf, linesOf, SPANS } from "../../lib/dashboard/spans.ts"
import { HISTORY, HISTORY_TYPES } from "../../lib/redis/keys.ts"
import { type HistoryAnswer, MINUTE_MS } from "../../lib/wire/charting.ts"
import { chromium, type TestPage } from "../support/browser.ts"
import { DirectQueue, type TestBroker, TOKEN, testBroker, until } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"
import { sharedBrowser } from "../support/shared-browser.ts"

const MAIL = "s120d110f8l2x1q40y5p6|F30H50K20|D10G60J30"
const point = (at: number, more: object = {}) => ({
  at,
  recorded_ms: MINUTE_MS,
  submitted: 60,
  done: 30,
  failed: 6,
  lapsed: 6,
  dead: 0,
  ...more,
})
const answer = (points: ReturnType<typeof point>[], more: Partial<HistoryAnswer> = {}): HistoryAnswer => ({
  from_at: points[0]!.at,
  to_at: points.at(-1)!.at + 10 * MINUTE_MS,
  step_ms: MINUTE_MS,
  points,
  total: point(0),
  marks: [],
  ...more,
})

describe("lines", () => {
  const begin = 1_764_000_000_000

  test("have a gap in each step without a point, and zero in one without events", () => {
    const points = [point(begin), point(begin + MINUTE_MS, { done: 0 }), point(begin + 4 * MINUTE_MS)]
    const [times, done] = linesOf(answer(points), [({ done }) => done])
    expect(times.map(time => (time * 1_000 - begin) / MINUTE_MS)).toEqual([0, 1, 2, 3, 4])
    expect(done).toEqual([30, 0, null, null, 30])
  })

  test("end before the step that is not complete, whose rates would be too low", () => {
    const points = [point(begin), point(begin + MINUTE_MS), point(begin + 2 * MINUTE_MS, { recorded_ms: 9 })]
    const now = begin + 2 * MINUTE_MS + 9
    // Brokers may still write counts of the minute before.
    expect(completePoints(answer(points, { to_at: now }))).toEqual(points.slice(0, 1))
    expect(completePoints(answer(points, { to_at: now + 20_000 }))).toEqual(points.slice(0, 2))
  })

  test("have labels at full times", () => {
    for (const span of SPANS) {
      const end = Math.floor(Date.now() / 1_000)
      const labels = labelsOf(span, [end - span.seconds, end], "UTC", false)
      expect(labels.length).toBeWithin(4, 9)
      for (const at of labels) expect(at % span.labels).toBe(0)
    }
  })
})

describe("five minutes", () => {
  test("are filled from the history before the page was open, without counting anything twice", () => {
    const history = new History()
    const now = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS
    const depth = { queued: 7, delayed: 0, processing: 1 }
    const past = [point(now - 3 * MINUTE_MS, { depth }), point(now - 2 * MINUTE_MS, { depth })]
    history.addPast(past)
    history.addPast(past, "mail")
    history.addPast(past)
    const [, submitted, done, failed] = history.throughput(undefined, 300, now)
    const known = (values: (number | null)[]) => values.filter(value => value !== null)
    expect(new Set(known(submitted!))).toEqual(new Set([1]))
    expect(known(submitted!)).toHaveLength(120)
    expect([known(done!)[0], known(failed!)[0]]).toEqual([0.5, 0.2])
    expect(history.throughput("mail", 300, now)[1]).toEqual(submitted!)
    expect(history.throughput("other", 300, now)[1]!.every(value => value === null)).toBe(true)
    expect(history.depth()[1]).toEqual([7, 7])
    expect(history.depth("mail")[1]).toEqual([7, 7])
  })
})

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const browser = sharedBrowser()
  let redis: Awaited<ReturnType<typeof testRedis>>
  let direct: DirectQueue
  let broker: TestBroker

  const thisMinute = () => Math.floor(Date.now() / MINUTE_MS)
  const write = async (level: "m" | "h", number: number, series: string, text: string) => {
    const size = level === "m" ? 60 : 24
    const block = Math.floor(number / size)
    await direct.redis.hset(`${HISTORY}${level}:${block}:${series}`, String(number % size), text)
    if (series.includes(":"))
      await direct.redis.zadd(`${HISTORY_TYPES}${level}:${block}:mail`, 5, series.slice("mail:".length))
  }
  const writeMinutes = async (from: number, to: number) => {
    for (let minute = from; minute < to; minute++)
      for (const series of ["", "mail", "mail:welcome", "mail:a <b>strange</b> type"])
        await write("m", minute, series, MAIL)
  }

  beforeAll(async () => {
    redis = await testRedis()
    direct = new DirectQueue(redis.socket, "mail")
    const now = thisMinute()
    // For four hours of yesterday no broker ran.
    await writeMinutes(now - 1_440, now - 900)
    await writeMinutes(now - 660, now)
    for (let hour = Math.floor(now / 60) - 719; hour <= now / 60; hour++)
      for (const series of ["", "mail", "mail:welcome"])
        await write("h", hour, series, MAIL.replace("s120", `m60s${3_000 + (hour % 24) * 200}`))
    broker = await testBroker({}, redis.socket)
    await broker.call("POST", "/submit", { type: "welcome", queue: "mail" })
    const at = (now - 300) * MINUTE_MS
    await broker.call("POST", "/history/marks", { text: "deploy <b>v1.2</b>", at })
  })
  // The minutes that have passed since the tests before.
  beforeEach(() => writeMinutes(thisMinute() - 10, thisMinute()))
  afterAll(async () => {
    await broker?.[Symbol.asyncDispose]()
    await direct?.[Symbol.asyncDispose]()
    await redis?.[Symbol.asyncDispose]()
  })

  /** What the legend of a chart says about a place between its left (0) and right (1) edge. */
  async function legendAt(page: TestPage, title: string, place: number): Promise<string> {
    await page.find("heading", title)
    const box = (await page.page.evaluate(`(() => {
      const figure = [...document.querySelectorAll(".chart")].find(of => of.querySelector("h2").innerText === ${JSON.stringify(title)})
      figure.scrollIntoView({ block: "center" })
      const { x, y, width, height } = figure.querySelector(".u-over").getBoundingClientRect()
      return { x, y, width, height }
    })()`)) as { x: number; y: number; width: number; height: number }
    await page.page.mouse.move(box.x + box.width * place, box.y + box.height / 2)
    const text = () =>
      page.page.evaluate(
        `[...document.querySelectorAll(".chart")].find(of => of.querySelector("h2").innerText === ${JSON.stringify(title)}).querySelector("figcaption").innerText.replace(/\\s+/g, " ")`,
      ) as Promise<string>
    await until("the legend shows a time", async () => / \d\d:\d\d(:\d\d)? /.test(`${await text()} `))
    return text()
  }

  test("a mark is listed in the spans that contain it, and is a line in each chart", async () => {
    await using page = await browser.signedIn(broker.url, "#/queues?span=24h", TOKEN)
    await page.reads(/deploy <b>v1\.2<\/b>/)
    const dashes = () =>
      page.page.evaluate(`(() => {
      const { width, height } = document.querySelector(".chart canvas")
      const pixels = document.querySelector(".chart canvas").getContext("2d").getImageData(0, 0, width, height).data
      const [r, g, b] = [0x55, 0x52, 0xd0]
      let most = 0
      for (let x = 0; x < width; x++) {
        let found = 0
        for (let y = 0; y < height; y++) {
          const i = 4 * (y * width + x)
          if (pixels[i] === r && pixels[i + 1] === g && pixels[i + 2] === b) found++
        }
        most = Math.max(most, found / height)
      }
      return most
    })()`) as Promise<number>
    await until("the line is drawn", async () => (await dashes()) > 0.2)
    await page.click("button", "1 h")
    await until(
      "it is too old",
      async () => !(await page.page.evaluate("document.body.innerText.includes('deploy <b>')")),
    )
  })

  test("a reload shows the same 24 hours, with a gap where no broker ran", async () => {
    await using page = await browser.signedIn(broker.url, "#/queues?span=24h", TOKEN)
    await page.find("button", "24 h")
    const places = [0.1, 0.45, 0.9]
    const read = async () => {
      await page.reads(/submitted\s+2\s/)
      return Promise.all([
        ...(await places.reduce<Promise<string[]>>(
          async (before, place) => [...(await before), await legendAt(page, "Throughput", place)],
          Promise.resolve([]),
        )),
        legendAt(page, "Wait", 0.9),
      ])
    }
    /** The legend without its time, which moves on by a bucket every five minutes. */
    const withoutTimes = (legends: string[]) => legends.map(text => text.replace(/\d+ \w{3} \d\d:\d\d /, ""))
    const before = await read()
    expect(before[0]).toContain("submitted 2")
    expect(before[1]).toContain("submitted –")
    expect(before[2]).toContain("done 1.8")
    expect(before[3]).toMatch(/p50 \d+ ms p95 \d+ ms/)
    await page.page.reload()
    expect(withoutTimes(await read())).toEqual(withoutTimes(before))
    await page.picture("history-24h-overview")
    await page.find("list", "Marks in the charts")
    await page.reads(/deploy <b>v1\.2<\/b>/)
    expect(await page.barriers()).toEqual([])
  })

  test("a queue has charts of 1 h, 24 h and 30 d, and a table of its types", async () => {
    await using page = await browser.signedIn(broker.url, "#/queues/mail", TOKEN)
    await page.click("button", "1 h")
    await page.click("link", "types")
    await page.find("table", "Types in the last 1 h")
    await page.find("link", "a <b>strange</b> type")
    await page.reads(/welcome\s+7,\d{3}/)
    await page.reads(/8\.3 %/)
    expect(await page.page.evaluate("location.hash")).toBe("#/queues/mail?span=1h&state=types")
    await page.picture("history-1h-queue")
    await page.click("button", "30 d")
    await page.find("table", "Types in the last 30 d")
    await until("its rows have come", () => page.page.evaluate('!document.querySelector(".stale")'))
    await page.picture("history-30d-queue")
    expect(await page.barriers()).toEqual([])
    await page.click("link", "welcome")
    await page.find("link", /^mail:/)
    expect(await page.page.evaluate("location.hash")).toBe("#/queues/mail?state=all&type=welcome&span=30d")
  })

  test.each([
    ["light", { width: 390, height: 844 }],
    ["dark", { width: 390, height: 844, dark: true }],
    ["dark wide", { width: 1_440, dark: true }],
  ])("fit the page: %s", async (name, look) => {
    await using page = await browser.signedIn(broker.url, "#/queues/mail?span=24h&state=types", TOKEN, look)
    await page.find("table", "Types in the last 24 h")
    expect(await page.overflow()).toBe(0)
    expect(await page.barriers()).toEqual([])
    await page.picture(`history-24h-${name.replace(" ", "-")}`)
  })

  test("five minutes are filled when the page opens", async () => {
    await using page = await browser.signedIn(broker.url, "#/queues/mail", TOKEN)
    const says = (title: string, text: string) =>
      until(`${title}: ${text}`, async () => (await legendAt(page, title, 0.2)).includes(text))
    await says("Throughput", "submitted 2")
    await says("Depth", "queued 40")
    await page.picture("history-5m-queue")
  })

  test.each([
    ["an hour ahead", 3_600_000],
    ["an hour behind", -3_600_000],
  ])("times are those of the broker, if the clock of the browser is %s", async (_, clockMs) => {
    await using page = await browser.signedIn(broker.url, "#/queues/mail", TOKEN, { clockMs })
    const says = (title: string, text: string) =>
      until(`${title}: ${text}`, async () => (await legendAt(page, title, 0.2)).includes(text))
    await says("Throughput", "submitted 2")
    await says("Depth", "queued 40")
    await says("Run time", "p50")
    await broker.call("POST", "/submit", { type: "welcome", queue: "mail" })
    await page.page.goto(`${broker.url}/dashboard#/tasks?queue=mail`)
    await page.reads(/(now|\d s ago)$/m)
    await page.page.goto(`${broker.url}/dashboard#/events?event=submitted`)
    await page.find("link", "mail")
  })

  test("a held chart shows what it showed when the pointer crosses it and the theme changes, until a reload", async () => {
    await using page = await browser.signedIn(broker.url, "#/queues/mail", TOKEN)
    await until("it is filled", async () => (await legendAt(page, "Throughput", 0.2)).includes("submitted 2"))
    await page.page.keyboard.press("h")
    await page.reads("Held")
    const before = await legendAt(page, "Throughput", 0.2)
    // A minute later by the clock of the page, which ticks every second.
    await page.page.evaluate(
      "new Promise(done => { const { now } = Date; Date.now = () => now() + 60_000; setTimeout(done, 1_100) })",
    )
    await legendAt(page, "Throughput", 0.5)
    expect(await legendAt(page, "Throughput", 0.2)).toBe(before)
    await page.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }])
    await legendAt(page, "Throughput", 0.5)
    expect(await legendAt(page, "Throughput", 0.2)).toBe(before)
    await page.page.keyboard.press("r")
    await until("it has moved on", async () => (await legendAt(page, "Throughput", 0.2)) !== before)
  })

  /** All labels of the axes that were drawn since the page was opened. */
  const drawn = (page: TestPage) => page.page.evaluate("drawn") as Promise<string[]>
  async function openDrawing(page: TestPage, hash: string): Promise<void> {
    await page.page.evaluateOnNewDocument(`
      globalThis.drawn = []
      const { fillText } = CanvasRenderingContext2D.prototype
      CanvasRenderingContext2D.prototype.fillText = function (...args) {
        drawn.push(args[0])
        fillText.apply(this, args)
      }`)
    await page.page.goto(`${broker.url}/dashboard${hash}`)
    await page.fill("Token", TOKEN)
    await page.click("button", "Sign in")
    await page.find("heading", "Run time")
    await until("it is drawn", async () => (await drawn(page)).length > 10)
    await page.reads(/p50\s+(\d|–)/)
  }

  test("the newest depth is within the chart, also if it is far above the past", async () => {
    for (let i = 0; i < 3; i++)
      await broker.call("POST", "/submit", Array(1_000).fill({ type: "welcome", queue: "mail" }))
    await using page = await browser.page({ width: 1_440 })
    await openDrawing(page, "#/queues/mail")
    await until("it is drawn", async () => (await drawn(page)).includes("2,000"))
    // The past is 40.
    expect(await drawn(page)).not.toContain("20")
  })

  test("no two labels of an axis are the same, also without a value", async () => {
    await broker.call("POST", "/submit", { type: "welcome", queue: "never-polled" })
    await using page = await browser.page({ width: 1_440 })
    await openDrawing(page, "#/queues/never-polled")
    const labels = await drawn(page)
    const countOf = (label: string) => labels.filter(text => text === label).length
    expect(countOf("1 ms")).toBe(countOf("0 ms"))
  })
})
