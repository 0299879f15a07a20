/** What broker.ts, worker.ts and `bun run top` say when asked what they are: `--help`, `--version`. They take nothing else. */
import { version } from "../../package.json" with { type: "json" }
import {
  ConfigError,
  type OnRead,
  readBrokerConfig,
  readTopConfig,
  readWorkerConfig,
} from "../config/config.ts"
import { VARIABLES, type Variable } from "../config/variables.ts"

const COLUMNS = 80
const MEANING_AT = 34

const PROGRAMS = {
  broker: {
    reads: readBrokerConfig,
    about: `\
The broker of a task queue: takes tasks over HTTP, keeps them in Redis, and
hands them to workers. Where no Redis is named it runs the machine's own.

  bun run broker.ts            Ctrl-C or SIGTERM ends it in order
  bun run worker.ts            a worker, in another terminal
  PORT=8080 bun run broker.ts  the same on another port`,
  },
  worker: {
    reads: readWorkerConfig,
    about: `\
A worker of a task queue: takes tasks from a broker, runs their handlers, and
says how they ended. Beside a broker on the same machine it needs no settings.

  bun run worker.ts            Ctrl-C or SIGTERM ends it in order
  HANDLERS=./mine.ts QUEUES=mail,default bun run worker.ts`,
  },
  top: {
    reads: readTopConfig,
    about: `\
The queues of a broker on the terminal, once a second: how many tasks wait, run
and are dead, for how long, and how many a second. Where its output is no
terminal it prints them once.

  bun run top
  BROKER_URL=https://broker.example API_SECRET_TOKEN=... bun run top`,
  },
  start: {
    reads: undefined,
    about: `\
A task queue on this machine: starts a broker, and a worker once the broker is
ready. Without REDIS_URL the broker also starts a Redis server of its own.

  bun run start                Ctrl-C or SIGTERM stops both, worker first
  PORT=8080 BROKER_URL=http://localhost:8080 bun run start

Both programs read their own settings; these commands list them:

  bun run broker.ts --help
  bun run worker.ts --help`,
  },
} as const
export type Program = keyof typeof PROGRAMS

/** The variables that a program reads, as the README orders them, and what counts where one is not set. */
export function variablesOf(program: Program): Map<Variable, string | undefined> {
  const heard = new Map<Variable, string | undefined>()
  const hear: OnRead = (name, fallback) => {
    if (fallback !== undefined || !heard.has(name))
      heard.set(name, fallback === undefined ? undefined : String(fallback))
  }
  PROGRAMS[program].reads?.({}, hear)
  const names = (Object.keys(VARIABLES) as Variable[]).filter(name => heard.has(name))
  return new Map(names.map(name => [name, heard.get(name)]))
}

export function helpText(program: Program): string {
  const rows = [...variablesOf(program)].map(([name, fallback = ""]) => {
    const head = `  ${name}=${fallback}`
    const meaning = wrapText(VARIABLES[name], COLUMNS - MEANING_AT).map(line => " ".repeat(MEANING_AT) + line)
    // What leaves no room beside it stands on a line of its own.
    if (head.length >= MEANING_AT) return [head, ...meaning].join("\n")
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

function wrapText(text: string, width: number): string[] {
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

/** Runs a program, unless its arguments ask what it is, or are none that it has. Gives the exit code. */
export async function runProgram(
  program: Program,
  args: readonly string[],
  main: () => Promise<number>,
): Promise<number> {
  const asks = (...names: string[]) => args.some(arg => names.includes(arg))
  const wrong = args.find(arg => !["--help", "-h", "--version"].includes(arg))
  if (wrong !== undefined) {
    console.error(
      `${program} takes no ${JSON.stringify(wrong)}: settings are environment variables, listed by --help`,
    )
    return 2
  }
  if (asks("--help", "-h")) console.log(helpText(program).trimEnd())
  else if (asks("--version")) console.log(version)
  if (args.length > 0) return 0
  try {
    return await main()
  } catch (error) {
    console.error(error instanceof ConfigError ? error.message : error)
    return 1
  }
}
