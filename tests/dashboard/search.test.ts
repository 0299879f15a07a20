/** Search in the dashboard: parts of ids and names, texts, and the order of tasks over all queues. */
import { describe, expect, test } from "bun:test"
import { chromium, type TestPage } from "../support/browser.ts"
import { freshName, until } from "../support/harness.ts"
import { submitted } from "../support/requests.ts"
import { TestDashboard } from "../support/test-dashboard.ts"

describe.skipIf(chromium === undefined)("in Chromium", () => {
  const dashboard = new TestDashboard()
  const { signedIn } = dashboard
  const hashOf = (page: TestPage) =>
    page.page.evaluate("decodeURIComponent(location.hash)") as Promise<string>
  const search = async (page: TestPage, text: string) => {
    await page.fill("Task id or a part of it", text)
    await page.page.keyboard.press("Enter")
  }
  const rows = (page: TestPage) =>
    page.page.evaluate("[...document.querySelectorAll('tbody tr')].map(row => row.innerText)") as Promise<
      string[]
    >

  test("the field in the header finds a task by the end of its id, and lists several that match", async () => {
    const queue = freshName()
    const id = await submitted(dashboard.broker, { type: "mail", queue })
    const [one, two] = [
      await submitted(dashboard.broker, { type: "mail", queue, task_id: `${queue}-order-1` }),
      await submitted(dashboard.broker, { type: "mail", queue, task_id: `${queue}-order-2` }),
    ]
    await using page = await signedIn("#/queues")
    page.expectFaults(/01AAAAAAAAAAAAAAAAAAAA/)
    await search(page, id.slice(-7).toLowerCase())
    await until("the task is open", async () => (await hashOf(page)) === `#/tasks/${id}`)
    await search(page, `${queue}-order`)
    await page.find("table", "Tasks: all")
    for (const each of [one, two]) await page.find("link", new RegExp(each))
    await search(page, id.split(":")[1]!)
    await until("the task is open", async () => (await hashOf(page)) === `#/tasks/${id}`)
    await search(page, "01AAAAAAAAAAAAAAAAAAAA")
    await page.reads(/no task has this id/i)
  })

  test("a part of a queue or type finds its tasks, and known names are suggested", async () => {
    const queue = `${freshName()}-Emails`
    const id = await submitted(dashboard.broker, { type: "send.welcome", queue })
    await submitted(dashboard.broker, { type: "other", queue })
    await using page = await signedIn("#/tasks")
    await page.find("cell", "other") // suggested types are those of tasks that the page has shown
    await page.fill("Queue contains", queue.slice(2).toLowerCase())
    await page.fill("Type contains", "WELCOME")
    await until("only this task is listed", async () => (await rows(page)).length === 1)
    await page.find("link", new RegExp(id))
    const suggested = (of: string) =>
      page.page.evaluate(
        `[...document.querySelectorAll('#known-${of} option')].map(o => o.value)`,
      ) as Promise<string[]>
    await until("the queue is suggested", async () => (await suggested("queues")).includes(queue))
    expect(await suggested("types")).toEqual(expect.arrayContaining(["send.welcome", "other"]))
    await page.fill("Queue contains", queue)
    await page.find("textbox", "Payload or error contains") // which needs the exact name
    expect(await hashOf(page)).toContain(`queue=${queue}`)
  })

  test("a text in a payload is found in the view of its queue", async () => {
    const queue = freshName()
    await submitted(dashboard.broker, { type: "mail", queue, payload: { to: "someone" } })
    const id = await submitted(dashboard.broker, { type: "mail", queue, payload: { to: "Zoë" } })
    await using page = await signedIn(`#/queues/${queue}?state=all`)
    await page.fill("Payload or error contains", "zoë")
    await page.find("button", /^text: zoë/)
    await until("only this task is listed", async () => (await rows(page)).length === 1)
    await page.find("link", new RegExp(id))
  })

  test("queued tasks of several queues are listed with the newest first, in their state and in all", async () => {
    const name = freshName()
    const ids: string[] = []
    for (const suffix of ["b", "a", "c", "a"]) {
      ids.push(await submitted(dashboard.broker, { type: "mail", queue: `${name}-${suffix}` }))
      await Bun.sleep(2) // each in a millisecond of its own
    }
    const listed = async (page: TestPage) => {
      await page.find("link", new RegExp(ids[0]!))
      return page.page.evaluate("[...document.querySelectorAll('tbody a.id')].map(link => link.title)")
    }
    for (const state of ["queued", "all"]) {
      await using page = await signedIn(`#/tasks?state=${state}&queue_part=${name}`)
      expect(await listed(page)).toEqual(ids.toReversed())
    }
  })

  test("a page of the list is in the URL, and begins again with other filters", async () => {
    const queue = freshName()
    const ids: string[] = []
    for (let i = 0; i < 30; i++) {
      ids.push(await submitted(dashboard.broker, { type: "mail", queue }))
      await Bun.sleep(2) // each in a millisecond of its own
    }
    await using page = await signedIn(`#/tasks?state=queued&queue=${queue}`)
    await page.find("link", new RegExp(ids[29]!))
    await page.click("button", /Next page/)
    await page.find("link", new RegExp(ids[0]!))
    expect((await rows(page)).length).toBe(5)
    await page.page.reload()
    await page.find("link", new RegExp(ids[0]!))
    await page.reads("page 2")
    await page.fill("Type contains", "mai")
    await page.find("link", new RegExp(ids[29]!))
    expect(await hashOf(page)).not.toContain("page=")
  })

  test("scheduled tasks of several queues are listed with the next due first", async () => {
    const name = freshName()
    const queues = [`${name}-b`, `${name}-a`, `${name}-c`]
    const ids: string[] = []
    for (const [i, queue] of queues.entries())
      ids.push(await submitted(dashboard.broker, { type: "mail", queue, delay_ms: (i + 1) * 3_600_000 }))
    await using page = await signedIn(`#/tasks?state=scheduled&queue_part=${name}`)
    await page.find("link", new RegExp(ids[0]!))
    const listed = (await rows(page)).map(text => queues.findIndex(queue => text.includes(queue)))
    expect(listed).toEqual([0, 1, 2])
  })
})
