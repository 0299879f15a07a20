/** The command line of the programs. Each has `--help` and `--version`. `inspect`, `top` and `tq` have further arguments. */
import { type ParseArgsConfig, parseArgs } from "node:util"
import { version } from "../../package.json" with { type: "json" }
import { readBrokerConfig, readInspectConfig, readTopConfig, readWorkerConfig } from "../config/config.ts"
import { ConfigError, type OnRead } from "../config/reader.ts"
import { VARIABLES, type Variable } from "../config/variables.ts"
import { escapeInterpreted } from "../terminal.ts"
import { flushOutput } from "./output.ts"

export const COLUMNS = 80
const MEANING_COLUMN = 34

const PROGRAMS = {
  broker: {
    reads: readBrokerConfig,
    about: `\
The broker of a task queue: accepts tasks over HTTP, stores them in Redis, and
hands them to workers. Without a Redis address it runs an embedded Redis.

  bun run broker.ts            Ctrl-C or SIGTERM stops it gracefully
  bun run worker.ts            starts a worker, in another terminal
  PORT=8080 bun run broker.ts  listens on another port`,
  },
  worker: {
    reads: readWorkerConfig,
    about: `\
A worker of a task queue: leases tasks from a broker, runs their handlers, and
reports the results. On the same machine as the broker it needs no settings.

  bun run worker.ts            Ctrl-C or SIGTERM stops it gracefully
  HANDLERS=./mine.ts QUEUES=mail,default bun run worker.ts`,
  },
  top: {
    reads: readTopConfig,
    about: `\
Shows the task queues of a broker in the terminal, refreshed every second:
waiting, running and dead tasks, the age of the oldest, and rates. If its
output is not a terminal, it prints them once and exits.

  bun run top
  bun run top --sort dead      or by name, queued, delayed, running, oldest, in,
                               done, fail, workers; --reverse: backwards
  BROKER_URL=https://broker.example API_SECRET_TOKEN=... bun run top`,
  },
  tq: {
    reads: readTopConfig,
    about: `\
Submits tasks to a broker, and shows and controls tasks, queues, schedules and
workers. Each command has a --help of its own, with its options and examples.

  submit <type> [payload]             bun run tq submit add '[1,2,3]' --wait
  status | wait | why | change | again | retry | cancel | delete <task_id>
  tasks                               lists or searches tasks
  dead [groups]                       dead tasks, and their errors
  bulk [get | stop | retry | purge | cancel | start-now | again]
                                      many tasks at once, by a filter
  queues [get | set]                  queues, their settings and limits
  pause | resume <queue>
  groups [get | set | pause | resume] groups of a queue
  schedules [get | set | pause | resume | run | delete | preview]
  workers [drain], brokers            what is running
  attention, history                  what is wrong, and what happened
  mark <text>                         marks a deploy in the charts
  actions, audit                      what operators did; a check of the data
  tail                                prints events as they happen

With --json a command prints the answer of the broker. Exit codes: 0 done; 1 the
task failed, or the broker refused or cannot be reached; 2 wrong arguments.`,
  },
  inspect: {
    reads: readInspectConfig,
    about: `\
Prints the record of a task from Redis, with a name for each field. It reads
Redis directly, so it also works if no broker is running, and changes nothing.

  bun run inspect emails:01KAV9FT345D2Q7RWM4HTE
  REDIS_URL=redis://redis.example bun run inspect emails:01KAV9FT345D2Q7RWM4HTE`,
  },
  pack: {
    reads: undefined,
    about: `\
Builds the package of the task queue for Node 20 or newer: a tarball with the
client and the worker, for npm install. It needs the packages of bun.lock.

  bun run pack                 writes .data/task-queue-${version}.tgz
  bun run pack build/tq.tgz    writes this file`,
  },
  start: {
    reads: undefined,
    about: `\
A task queue on this machine: starts a broker, and a worker once the broker is
ready. Without a Redis address the broker also starts an embedded Redis.

  bun run start                Ctrl-C or SIGTERM stops both, the worker first
  PORT=8080 bun run start      the broker listens on another port

Both programs read their own settings; these commands list them:

  bun run broker.ts --help
  bun run worker.ts --help`,
  },
} as const
export type Program = keyof typeof PROGRAMS

/** The variables that a program reads with their defaults, in the order of VARIABLES. */
export function variablesOf(program: Program): Map<Variable, string | undefined> {
  const defaults = new Map<Variable, string | undefined>()
  const onRead: OnRead = (name, fallback) => {
    if (fallback !== undefined || !defaults.has(name))
      defaults.set(name, fallback === undefined ? undefined : String(fallback))
  }
  PROGRAMS[program].reads?.({}, onRead)
  const names = (Object.keys(VARIABLES) as Variable[]).filter(name => defaults.has(name))
  return new Map(names.map(name => [name, defaults.get(name)]))
}

export function helpText(program: Program): string {
  const rows = [...variablesOf(program)].map(([name, fallback = ""]) => {
    const head = `  ${name}=${fallback}`
    const meaning = wrapText(VARIABLES[name], COLUMNS - MEANING_COLUMN).map(
      line => " ".repeat(MEANING_COLUMN) + line,
    )
    // A long name and default get a line of their own.
    if (head.length >= MEANING_COLUMN) return [head, ...meaning].join("\n")
    return head + meaning.join("\n").slice(head.length)
  })
  return `${PROGRAMS[program].about}

  --help, -h      this page
  --version       ${version}

Settings are environment variables, or lines of a file .env in this directory.
${
  rows.length === 0
    ? "lib/config/README.md describes all of them.\n"
    : `The defaults are shown. _MS means milliseconds, _BYTES means bytes.

${rows.join("\n")}
`
}`
}

export function wrapText(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ""
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line += line === "" ? word : ` ${word}`
  }
  return [...lines, line]
}

type Options = NonNullable<ParseArgsConfig["options"]>
export type OptionValues = Readonly<Record<string, unknown>>

/** Runs a program, unless its arguments ask for help or are unknown. Returns the exit code. */
export async function runProgram(
  program: Program,
  args: readonly string[],
  main: (values: OptionValues) => Promise<number>,
  options: Options = {},
): Promise<number> {
  const known: Options = { ...options, help: { type: "boolean", short: "h" }, version: { type: "boolean" } }
  const { values, tokens } = parseArgs({ args: [...args], options: known, strict: false, tokens: true })
  const unknown = tokens.find(token => token.kind !== "option" || !Object.hasOwn(known, token.name))
  if (unknown !== undefined) {
    console.error(
      `${program}: unknown argument ${escapeInterpreted(JSON.stringify(args[unknown.index]))}. Settings are environment variables, listed by --help`,
    )
    return 2
  }
  if (values.help || values.version) {
    console.log(values.help ? helpText(program).trimEnd() : version)
    return 0
  }
  try {
    return await main(values)
  } catch (error) {
    console.error(error instanceof ConfigError ? error.message : error)
    return 1
  } finally {
    await flushOutput()
  }
}
