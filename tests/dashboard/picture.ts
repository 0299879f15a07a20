/**
 * Makes lib/dashboard/dashboard.png, the picture in the README: `bun tests/dashboard/picture.ts`. It takes five minutes,
 * the time span of the charts. Simulated producers and workers use a broker with its own Redis during that time.
 * With SCREENSHOTS=<folder> the script also saves a picture of every view in both color schemes.
 * PICTURE_SECONDS=<number> shortens the run.
 */
import { join } from "node:path"
import { hashOf, ROLES } from "../../lib/config/tokens.ts"
import { type Look, TestBrowser, type TestPage } from "../support/browser.ts"
import { type TestBroker, testBroker } from "../support/harness.ts"
import { testRedis } from "../support/redis.ts"

const FILE = join(import.meta.dir, "../../lib/dashboard/dashboard.png")
const SECONDS = Number(process.env.PICTURE_SECONDS ?? 300)
const SECRET = "a-token-for-pictures"

interface Load {
  queue: string
  type: string
  /** Tasks submitted per second, on average. */
  perSecond: number
  /** How many tasks run at the same time, and their average duration. */
  workers: number
  runMs: number
  /** The share of attempts that fail, and their error. */
  failing?: number
  error?: string
  maxRetries?: number
}

const LOADS: readonly Load[] = [
  { queue: "checkout", type: "payment.capture", perSecond: 6, workers: 4, runMs: 350 },
  {
    queue: "emails",
    type: "email.send",
    perSecond: 11,
    workers: 5,
    runMs: 300,
    failing: 0.02,
    error: "SMTP 421: mail2.example.com is too busy",
    maxRetries: 0,
  },
  { queue: "images", type: "image.resize", perSecond: 5, workers: 4, runMs: 900 },
  { queue: "reports", type: "report.render", perSecond: 0.4, workers: 1, runMs: 2_800 },
  { queue: "search-index", type: "document.index", perSecond: 14, workers: 4, runMs: 200 },
  {
    queue: "webhooks",
    type: "webhook.deliver",
    perSecond: 5,
    workers: 4,
    runMs: 450,
    failing: 0.12,
    error: "POST https://hooks.example.com/orders: 502 Bad Gateway",
    maxRetries: 1,
  },
]

/** Submits and finishes tasks until `signal` aborts. */
function run(broker: TestBroker, signal: AbortSignal): Promise<unknown> {
  const call = async (path: string, body: unknown) => {
    const answer = await broker.call("POST", path, body, { headers: { "x-api-token": SECRET } })
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
    return answer.json() as Promise<{ tasks?: { id: string; lease: string }[] }>
  }
  let orders = 4_711
  const submit = async ({ queue, type, perSecond, maxRetries }: Load) => {
    const phase = queue.length
    let owed = 0
    while (!signal.aborted) {
      // Traffic rises and falls over minutes, with noise on top.
      const wave = 1 + 0.35 * Math.sin(Date.now() / 23_000 + phase) + 0.5 * (Math.random() - 0.5)
      for (owed += perSecond * wave * 0.25; owed >= 1; owed--) {
        const payload = { order: ++orders, customer: `c-${orders % 900}` }
        const delayed = Math.random() < 0.05 ? { delay_ms: Math.round(20_000 + Math.random() * 40_000) } : {}
        const retries = maxRetries === undefined ? {} : { max_retries: maxRetries }
        await call("/submit", { queue, type, payload, ...retries, ...delayed })
      }
      await Bun.sleep(250)
    }
  }
  const work = async ({ queue, runMs, failing = 0, error }: Load, index: number) => {
    const worker = `worker-${(index % 3) + 1}`
    while (!signal.aborted) {
      const { tasks } = await call("/lease", { queues: [queue], worker, wait_ms: 500 })
      for (const { id: task_id, lease } of tasks ?? []) {
        await Bun.sleep(runMs * (0.4 + 1.2 * Math.random()))
        const failed = Math.random() < failing
        await call("/ack", { task_id, lease, ...(failed ? { status: "failed", error } : {}) })
      }
    }
  }
  return Promise.all(
    LOADS.flatMap(load => [
      submit(load),
      ...Array.from({ length: load.workers }, (_, index) => work(load, index)),
    ]),
  )
}

const openPage = (browser: TestBrowser, url: string, hash: string, look: Look): Promise<TestPage> =>
  browser.signedIn(url, hash, SECRET, look)

/** Pictures of the other views, for a person to look at. */
async function pictureViews(browser: TestBrowser, broker: TestBroker): Promise<void> {
  const dead = await broker.call("GET", "/dlq?limit=1", undefined, { headers: { "x-api-token": SECRET } })
  const [task] = ((await dead.json()) as { tasks: { id: string }[] }).tasks
  for (const dark of [false, true])
    for (const [name, hash] of [
      ["queues", "#/queues"],
      ["queue", "#/queues/webhooks?state=dead"],
      ["tasks", "#/tasks?state=done"],
      ["dead", "#/dead"],
      ["task", `#/tasks/${task?.id}`],
      ["workers", "#/workers"],
      ["events", "#/events"],
    ] as const) {
      await using page = await openPage(browser, broker.url, hash, { dark })
      await Bun.sleep(2_500)
      await page.picture(`${name}-${dark ? "dark" : "light"}`)
    }
}

await using redis = await testRedis()
await using broker = await testBroker(
  { tokens: [{ name: "operator", roles: ROLES, queues: undefined, hash: hashOf(SECRET) }] },
  redis.socket,
)
await using browser = new TestBrowser()
const page = await openPage(browser, broker.url, "#/queues", { width: 1_200, height: 1_060 })
const end = new AbortController()
const load = run(broker, end.signal)
await Bun.sleep(SECONDS * 900)
await broker.call(
  "POST",
  "/queues/reports/pause",
  { reason: "the data warehouse is being upgraded" },
  { headers: { "x-api-token": SECRET } },
)
await Bun.sleep(SECONDS * 100)
await page.page.setViewport({ width: 1_200, height: 1_060 })
await Bun.sleep(1_500)
await page.page.screenshot({ path: FILE })
if (process.env.SCREENSHOTS) await pictureViews(browser, broker)
end.abort()
await load
if (browser.faults.length > 0) throw new Error(browser.faults.join("\n"))
console.log(`${FILE}: ${Bun.file(FILE).size} bytes`)
