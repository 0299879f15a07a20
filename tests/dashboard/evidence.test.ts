/**
 * Every view of the dashboard after a bounded load, in both themes, at 1440, 390 and 360 px: no error on the console, no serious
 * violation of accessibility, no name, id or time in two lines, and figures that agree with /metrics.
 */
import { describe, expect, test } from "bun:test"
import { chromium, type TestPage } from "../support/browser.ts"
import { until } from "../support/harness.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

/** As long as names of queues and types often are. */
const QUEUES = ["checkout", "emails-to-customers-in-western-europe-2", "webhooks"] as const
const TYPE = "com.example.billing.invoice.v2.send-reminder"
const ROUNDS = 40
/** Two lines, or three of small text. */
const ROW_PX = 72
/** A token or a path in an error has no spaces at which a line could end. */
const UNBROKEN = "x".repeat(300)

interface Tasks {
  tasks: { id: string; lease: string }[]
}

describe.skipIf(chromium === undefined)("after a bounded load", () => {
  const dashboard = new TestDashboard()
  const { signedIn, goTo, call } = dashboard

  /** Tasks in every state, of several types and groups, at several workers. */
  async function load(round: number): Promise<void> {
    const queue = QUEUES[round % QUEUES.length]!
    const task = {
      type: TYPE,
      queue,
      payload: { order: round, note: "a payload of usual length ".repeat(4) },
    }
    const tasks = Array.from({ length: 8 }, (_, i) => ({
      ...task,
      max_retries: i % 3,
      timeout_ms: 3_600_000,
      ...(i === 0 ? { delay_ms: 3_600_000 } : {}),
      ...(i === 1 ? { group: `tenant-${round % 5}`, meta: { team: "mail" } } : {}),
    }))
    await call("POST", "/submit", tasks)
    const worker = `worker-${round % 4}-of-host-west-europe-17`
    const { tasks: leased } = await call<Tasks>("POST", "/lease", {
      queues: [queue],
      worker,
      max: 6,
      concurrency: 20,
    })
    const error = `POST https://hooks.example.com/orders: 502 Bad Gateway ${UNBROKEN} ${"and more ".repeat(20)}\n    at ${UNBROKEN} (a.ts:1:2)`
    const acks = leased.slice(1).map(({ id, lease }, i) => ({
      task_id: id,
      lease,
      ...(i % 3 === 0 ? { status: "failed", error, retry_in_ms: 3_600_000 } : {}),
    }))
    if (acks.length > 0) await call("POST", "/ack", acks)
  }

  /** The lines of /metrics with this name, by their labels. */
  async function metric(name: string): Promise<Map<string, number>> {
    const text = await (await dashboard.broker.call("GET", "/metrics")).text()
    const lines = text.matchAll(new RegExp(`^${name}\\{(.*)\\} +(\\S+)$`, "gm"))
    return new Map([...lines].map(([, labels, value]) => [labels!, Number(value)]))
  }
  const sumOf = (values: Map<string, number>, label: string) =>
    [...values].reduce((sum, [labels, value]) => (labels.includes(label) ? sum + value : sum), 0)

  const expectNear = (what: string, shown: number, counted: number) =>
    expect([what, shown, Math.abs(shown - counted) <= counted / 10]).toEqual([what, shown, true])

  const numberIn = (text: string | undefined) => Number(text?.replaceAll(",", "") ?? Number.NaN)

  /** The texts of a table by row: the text of the first cell, then those of the others by their heads. */
  const tableOf = (page: TestPage, label: string) =>
    page.page.evaluate(
      `[...document.querySelectorAll('table[aria-label="${label}"] tbody tr')].map(row =>
        Object.fromEntries([...row.cells].map(cell => [cell.dataset.label, cell.innerText.trim()])))`,
    ) as Promise<Record<string, string>[]>

  test("the figures of the page agree with /metrics", async () => {
    await using page = await signedIn("#/queues", { width: 1_440 })
    for (let round = 0; round < ROUNDS; round++) await load(round)
    for (const [i, queue] of QUEUES.entries())
      await call("PUT", `/schedules/${queue}:nightly-report-${i}`, {
        cron: "0 3 * * *",
        task: { type: TYPE },
      })
    await call("POST", "/bulk", { action: "retry", filter: { queue: "webhooks" }, limit: 1, canary: false })
    await call("POST", "/queues/webhooks/pause", {
      reason: "the receiving side is being moved to another region",
    })

    await until("the bulk operation has ended", async () => {
      const { operations } = await call<{ operations: { ended_at?: number }[] }>("GET", "/bulk")
      return operations.every(({ ended_at }) => ended_at !== undefined)
    })
    // The figures of /metrics are up to a second old.
    await until("/metrics has the task that was retried", async () => {
      const waiting = sumOf(await metric("tq_tasks"), 'queue="webhooks",state="queued"')
      const { depth } = await call<{ depth: { queued: number } }>("GET", "/queues/webhooks")
      return waiting === depth.queued
    })
    const tasks = await metric("tq_tasks")
    const events = await metric("tq_task_events_total")
    expect(sumOf(tasks, 'state="dead"')).toBeGreaterThan(10)
    const tiles = () =>
      page.page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.totals > div')].map(tile => [tile.querySelector('dt').innerText, tile.querySelector('dd').innerText]))",
      ) as Promise<Record<string, string>>
    const total = sumOf(tasks, 'state="queued"')
    await until("the page shows the end of the load", async () => numberIn((await tiles()).Queued) === total)
    const totals = await tiles()
    for (const name of ["Queued", "Delayed", "Processing", "Dead"])
      expectNear(name, numberIn(totals[name]), sumOf(tasks, `state="${name.toLowerCase()}"`))
    for (const row of await tableOf(page, "Queues")) {
      const queue = QUEUES.find(name => row.Queue!.startsWith(name))!
      for (const name of ["Queued", "Delayed", "Processing", "Dead"])
        expectNear(
          `${queue} ${name}`,
          numberIn(row[name]),
          sumOf(tasks, `queue="${queue}",state="${name.toLowerCase()}"`),
        )
    }

    await goTo(page, "#/workers")
    await page.find("table", "Workers")
    const acked = async (name: string) =>
      (await tableOf(page, "Workers")).reduce((sum, row) => sum + numberIn(row[name]), 0)
    const done = sumOf(events, 'event="done"')

    await until("all acks are shown", async () => (await acked("Done")) >= done * 0.9)
    for (const name of ["Done", "Failed"])
      expectNear(`workers ${name}`, await acked(name), sumOf(events, `event="${name.toLowerCase()}"`))
    const running = (await tableOf(page, "Workers")).reduce(
      (sum, row) => sum + Number.parseInt(row.Running!, 10),
      0,
    )
    expectNear("workers running", running, sumOf(tasks, 'state="processing"'))

    await goTo(page, "#/dead")
    await page.find("table", "Dead tasks by error")
    const dead = (await tableOf(page, "Dead tasks by error")).reduce(
      (sum, row) => sum + numberIn(row.Tasks),
      0,
    )
    expectNear("dead letters", dead, sumOf(tasks, 'state="dead"'))
  })

  /** Texts in tables, and ids, names and times elsewhere, that take more than one line. Only sentences may. */
  const wrapped = (page: TestPage) =>
    page.page.evaluate(`(() => {
      const found = []
      for (const element of document.querySelectorAll("main td, main .id, main .name, main time, main h1, .tabs a")) {
        const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT)
        while (walker.nextNode()) {
          const range = document.createRange()
          range.selectNodeContents(walker.currentNode)
          const lines = new Set([...range.getClientRects()].filter(({ width }) => width > 0).map(({ top }) => Math.round(top)))
          if (lines.size > 1 && !walker.currentNode.parentElement.closest(".wrapped") && walker.currentNode.textContent.trim() !== "") found.push(walker.currentNode.textContent.slice(0, 60))
        }
      }
      return found
    })()`) as Promise<string[]>

  const tallRows = (page: TestPage) =>
    page.page.evaluate(
      `[...document.querySelectorAll("main tbody tr")].filter(row => row.getBoundingClientRect().height > ${ROW_PX}).map(row => Math.round(row.getBoundingClientRect().height) + " px: " + row.innerText.slice(0, 60))`,
    ) as Promise<string[]>

  test.each([
    ["light", 1_440],
    ["dark", 1_440],
    ["light", 390],
    ["dark", 390],
    ["light", 360],
  ] as const)("every view is readable and accessible: %s, %d px", async (theme, width) => {
    const [queue, long] = QUEUES
    const taskIn = async (state: string) =>
      (await call<Tasks>("GET", `/tasks?state=${state}&queue=${queue}&limit=1`)).tasks[0]!.id
    const look = { dark: theme === "dark", width, height: width < 1_000 ? 844 : 900 }
    await using page = await signedIn("#/queues", look)
    // From then on events are written, so that views which begin with past events have some.
    await page.listens()
    await load(0)
    const views: [name: string, hash: string, shown: string | RegExp][] = [
      ["queues", "#/queues", long],
      ["queue", `#/queues/${long}`, /limits/i],
      ["queue-types", `#/queues/${queue}?state=types`, TYPE],
      ["queue-dead", `#/queues/${queue}?state=dead`, "502 Bad Gateway"],
      ["tasks", "#/tasks?state=queued", "checkout"],
      ["tasks-done", "#/tasks?state=done", TYPE],
      ["tasks-retrying", "#/tasks?state=retrying", "502"],
      ["tasks-processing", "#/tasks?state=processing", "worker-"],
      ["task-dead", `#/tasks/${await taskIn("dead")}`, "502 Bad Gateway"],
      ["task-done", `#/tasks/${await taskIn("done")}`, "order"],
      ["task-queued", `#/tasks/${await taskIn("queued")}`, "order"],
      ["schedules", "#/schedules", "nightly-report-1"],
      ["schedule", `#/schedules/${queue}:nightly-report-0`, /next runs/i],
      ["dead", "#/dead", "502 Bad Gateway"],
      ["bulk", "#/bulk", /retry/i],
      ["workers", "#/workers", "worker-3-of"],
      ["worker", "#/workers/worker-0-of-host-west-europe-17", TYPE],
      ["events", "#/events", TYPE],
      ["actions", "#/actions", /pause queue/],
    ]
    for (const [name, hash, shown] of views) {
      await goTo(page, hash)
      await page.reads(shown)
      // What belongs to a previous address is shown pale.
      const isOld = "document.querySelector('main .skeleton, main .stale:not(.badge)') !== null"
      await until("it has loaded", async () => !(await page.page.evaluate(isOld)))
      await page.picture(`${theme}-${width}-${name}`)
      const faults = {
        overflow: await page.overflow(),
        wrapped: await wrapped(page),
        tall: await tallRows(page),
        barriers: await page.barriers(),
      }
      expect([name, faults]).toEqual([name, { overflow: 0, wrapped: [], tall: [], barriers: [] }])
    }
  })
})
