/** The five minutes behind the charts of the dashboard. */
import { describe, expect, test } from "bun:test"
import { CHART_DELAY_SECONDS, History } from "../../lib/dashboard/history.ts"

/** A whole second, as far away from others as the tests need. */
const START = 1_800_000_000

/** A broker that counts 10 done tasks of the queue `mail` in each second, and a page that draws them. */
class Scene {
  history = new History()
  /** The seconds in which the broker wrote an event, as long as somebody listens. */
  readonly written: number[] = []
  second = START

  /** What the page does when its event stream opens. `missed`: the broker says that events may be missing. */
  open(missed = false): void {
    const after = new URLSearchParams(this.history.eventsQuery(this.ms)).get("last_event_id")!
    this.history.addEvent("listening", { at: this.ms }, after, this.ms)
    for (const second of this.written) if (second * 1_000 >= Number.parseInt(after, 10)) this.#hear(second)
    if (missed) this.history.addEvent("gap", { at: this.ms }, after, this.ms)
  }

  /** Time passes. Listening pages get an event per second. */
  pass(seconds: number, of: { listening?: boolean; written?: boolean; alive?: boolean } = {}): void {
    const { listening = true } = of
    const { written = listening, alive = listening } = of
    for (let i = 0; i < seconds; i++) {
      this.second++
      if (written) this.written.push(this.second)
      if (listening) this.#hear(this.second)
      if (alive) this.history.addNews(this.ms)
    }
  }

  get ms(): number {
    return this.second * 1_000 + 500
  }

  /** The drawn number of done tasks, by second since START. */
  get drawn(): Map<number, number | null> {
    const [times, , done] = this.history.throughput("mail", 300, this.ms)
    return new Map(times.map((time, i) => [time - START, done![i]!]))
  }

  #hear(second: number): void {
    const at = second * 1_000 + 1_000
    this.history.addEvent("counts", { at, queues: { mail: { submitted: 10, done: 10 } } }, `${at}-3`, this.ms)
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe("throughput", () => {
  test("counts each second once, however often the view and so the stream changes", () => {
    const scene = new Scene()
    scene.open()
    scene.pass(20)
    for (let i = 0; i < 5; i++) {
      scene.pass(3, { listening: false, written: true })
      scene.history.addQueues([], { all: true, streaming: false })
      scene.open()
      scene.open()
    }
    scene.pass(CHART_DELAY_SECONDS + 1)
    const { drawn } = scene
    expect(range(1, 35).map(second => drawn.get(second))).toEqual(range(1, 35).map(() => 10))
  })

  test("is unknown, not zero, while nobody listened", () => {
    const scene = new Scene()
    scene.open()
    scene.pass(20)
    scene.pass(100, { listening: false })
    scene.open(true)
    scene.pass(20)
    const { drawn } = scene
    expect(drawn.get(20)).toBe(10)
    expect(range(21, 119).map(second => drawn.get(second))).toEqual(range(21, 119).map(() => null))
    expect(range(121, 140 - CHART_DELAY_SECONDS).map(second => drawn.get(second))).not.toContain(null)
  })

  test("is zero while the stream is open, the broker is alive and nothing happens", () => {
    const scene = new Scene()
    scene.open()
    scene.pass(10)
    for (let i = 0; i < 30; i++) {
      scene.second++
      scene.history.addNews(scene.ms)
    }
    expect(range(12, 40 - CHART_DELAY_SECONDS).map(second => scene.drawn.get(second))).toEqual(
      range(12, 40 - CHART_DELAY_SECONDS).map(() => 0),
    )
  })

  test("is unknown, not zero, while the broker is silent", () => {
    const scene = new Scene()
    scene.open()
    scene.pass(10)
    scene.pass(30, { listening: false, alive: false })
    expect(range(11, 40 - CHART_DELAY_SECONDS).map(second => scene.drawn.get(second))).toEqual(
      range(11, 40 - CHART_DELAY_SECONDS).map(() => null),
    )
  })

  test("is unknown before the first event that the broker still keeps", () => {
    const scene = new Scene()
    scene.history.addEvent("listening", { at: scene.ms }, `${(START - 300) * 1_000}-0`, scene.ms)
    scene.history.addEvent("gap", { at: scene.ms }, `${(START - 300) * 1_000}-0`, scene.ms)
    scene.pass(10)
    expect(scene.drawn.get(-5)).toBeNull()
    expect(scene.drawn.get(5)).toBe(10)
  })

  test("without an event stream is the rate of the last minute, which the stream then replaces", () => {
    const history = new History()
    const mail = {
      queue: "mail",
      depth: { queued: 1, delayed: 0, processing: 0, done: 0, dead: 0, cancelled: 0, open: 0 },
    }
    const poll = () => history.addQueues([{ ...mail, rates: { done: 7 } }], { all: true, streaming: false })
    poll()
    const later = Date.now() + 6_000
    const now = Date.now
    Date.now = () => later
    try {
      poll()
    } finally {
      Date.now = now
    }
    const second = Math.floor(later / 1_000) - 2
    const drawnAt = () => {
      const [times, , done] = history.throughput("mail", 10, later + 2_000)
      return done![times.indexOf(second)]
    }
    expect(drawnAt()).toBe(7)
    for (const at of [second - 1, second, second + 1])
      history.addEvent("counts", { at: at * 1_000, queues: { mail: { done: 3 } } }, `${at * 1_000}-0`, later)
    expect(drawnAt()).toBe(3)
  })

  test("survives a reload of the page", () => {
    const scene = new Scene()
    scene.open()
    scene.pass(20)
    const text = scene.history.save()
    scene.history = new History()
    scene.history.restore(text, scene.ms)
    scene.pass(2, { listening: false, written: true })
    scene.open()
    scene.pass(CHART_DELAY_SECONDS)
    expect(range(1, 22).map(second => scene.drawn.get(second))).toEqual(range(1, 22).map(() => 10))
  })
})

describe("depth", () => {
  const depth = { queued: 5, delayed: 0, processing: 0, done: 0, dead: 0, cancelled: 0, open: 0 }

  test("survives a reload, and has a gap where it was not read", () => {
    const history = new History()
    const realNow = Date.now
    const begin = realNow()
    const read = (after: number) => {
      Date.now = () => begin + after
      history.addQueues([{ queue: "mail", depth }], { all: true, streaming: true })
    }
    try {
      for (const after of [0, 5_000, 65_000, 70_000]) read(after)
    } finally {
      Date.now = realNow
    }
    const restored = new History()
    restored.restore(history.save(), begin + 70_000)
    for (const of of [history, restored]) {
      const [times, queued] = of.depth()
      expect(times.map(time => Math.round(time * 1_000 - begin))).toEqual([0, 5_000, 5_001, 65_000, 70_000])
      expect(queued).toEqual([5, 5, null, 5, 5])
    }
  })
})
