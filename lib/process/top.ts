/** `bun run top`: shows the queues of a broker in the terminal, refreshed every second. Without a terminal it prints once. */
import { shownUrl } from "../broker-address.ts"
import { Client } from "../client.ts"
import { readTopConfig } from "../config/config.ts"
import { createLog } from "../log.ts"
import { pause } from "../pause.ts"
import { stopSignal } from "../signals.ts"
import { wantsColor } from "../terminal.ts"
import { type OptionValues, runProgram } from "./help.ts"
import { ORDERS, sortQueues } from "./queue-columns.ts"
import { safeText } from "./terminal-text.ts"
import { Token } from "./token.ts"
import { renderScreen, type ScreenState } from "./top-screen.ts"

const REFRESH_MS = 1_000
const ANSWER_MS = 5_000
const SHOWN_QUEUES = 1_000

const ESC = "\x1b"
/** One chunk of input may contain several key presses. An arrow key is three characters. */
const KEYS = new RegExp(`${ESC}\\[[A-Z]|[\\s\\S]`, "g")

async function main({ sort = "name", reverse }: OptionValues): Promise<number> {
  if (typeof sort !== "string" || !ORDERS.includes(sort)) {
    console.error(`top: --sort takes one of ${ORDERS.join(", ")}`)
    return 2
  }
  const config = readTopConfig()
  const stop = stopSignal()
  const token = await Token.find(config, createLog("info"), stop)
  if (token === undefined) return 0
  const client = new Client({ url: config.brokerUrl, token: () => token.value, timeoutMs: ANSWER_MS })
  const options = { signal: stop }
  const state: ScreenState = {
    url: shownUrl(config.brokerUrl),
    queues: [],
    order: sort,
    isReversed: reverse === true,
  }
  const sortAgain = () => {
    state.queues = sortQueues(state.queues, state.order!, state.isReversed)
  }
  const refresh = async () => {
    try {
      const { queues, next } = await client.queues({ limit: SHOWN_QUEUES }, options)
      state.queues = queues
      sortAgain()
      state.more = next !== undefined
      state.workers = await client.workers({ limit: 100 }, options).then(
        ({ workers }) => workers,
        () => undefined,
      )
      if (!state.queues.some(({ queue }) => queue === state.selected)) state.selected = state.queues[0]?.queue
      state.fault = undefined
    } catch (error) {
      // The cause is short: the screen shows the address beside it.
      const { message, cause } = error as Error
      state.fault = cause instanceof Error ? cause.message : message
      void token.refresh()
    }
  }
  await refresh()
  const { stdout, stdin } = process
  const colored = wantsColor(stdout)
  if (!stdout.isTTY) {
    if (state.fault === undefined) {
      const rows = state.queues.length + (state.workers?.length ?? 0) * 4 + 16
      const size = { columns: 120, rows, colored }
      const lines = renderScreen({ ...state, selected: undefined }, size).slice(0, -2)
      console.log(lines.join("\n").trimEnd())
    } else console.error(`No answer from ${safeText(state.url, 200)}: ${safeText(state.fault, 500)}`)
    return state.fault === undefined ? 0 : 1
  }

  const draw = () => {
    const size = { columns: stdout.columns || 80, rows: stdout.rows || 24, colored }
    const lines = renderScreen(state, size).map(line => `${line}\x1b[K`)
    stdout.write(`\x1b[H${lines.join("\r\n")}\x1b[J`)
  }
  const quit = new AbortController()
  const moveSelection = (step: number) => {
    const at = state.queues.findIndex(({ queue }) => queue === state.selected)
    state.selected = state.queues[Math.max(0, Math.min(at + step, state.queues.length - 1))]?.queue
  }
  const press = async (key: string) => {
    const { selected, groups, schedules, queueGroups } = state
    state.message = undefined
    if (key === "q" || key === "\x03") return quit.abort()
    if (groups !== undefined || schedules !== undefined || queueGroups !== undefined) {
      state.groups = undefined
      state.queueGroups = undefined
      state.schedules = undefined
    } else if (key === "\x1b[A" || key === "k") moveSelection(-1)
    else if (key === "\x1b[B" || key === "j") moveSelection(1)
    else if (key === "o" || key === "r") {
      if (key === "r") state.isReversed = !state.isReversed
      else state.order = ORDERS[(ORDERS.indexOf(state.order!) + 1) % ORDERS.length]!
      sortAgain()
    } else if (key === "p" && selected !== undefined) {
      const paused = state.queues.find(({ queue }) => queue === selected)?.paused
      if (paused) await client.resumeQueue(selected, options)
      else await client.pauseQueue(selected, {}, options)
      state.message = `${selected} is ${paused ? "resumed" : "paused"}`
      await refresh()
    } else if (key === "\r" && selected !== undefined)
      state.groups = (await client.dlqGroups({ queue: selected }, options)).groups
    else if (key === "g" && selected !== undefined)
      state.queueGroups = (await client.groups(selected, {}, options)).groups
    else if (key === "s") state.schedules = (await client.schedules({}, options)).schedules
    draw()
  }
  // Runs at every exit, even twice: an error message must not disappear with the alternate screen.
  const restore = () => {
    if (stdin.isTTY) stdin.setRawMode(false)
    stdout.write("\x1b[?25h\x1b[?1049l")
  }
  process.once("exit", restore)
  process.on("SIGHUP", () => process.exit(129))
  stdout.write("\x1b[?1049h\x1b[?25l")
  stdout.on("resize", draw)
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on("data", bytes => {
    for (const [key] of String(bytes).matchAll(KEYS))
      press(key).catch(error => {
        state.message = error.message
        draw()
      })
  })
  const ended = AbortSignal.any([stop, quit.signal])
  try {
    while (!ended.aborted) {
      draw()
      await pause(REFRESH_MS, ended)
      if (!ended.aborted) await refresh()
    }
    return 0
  } finally {
    restore()
  }
}

if (import.meta.main) {
  const options = { sort: { type: "string" }, reverse: { type: "boolean" } } as const
  process.exit(await runProgram("top", process.argv.slice(2), main, options))
}
