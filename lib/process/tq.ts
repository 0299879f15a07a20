/** `bun run tq <command>`: the typed client as a command line. lib/process/tq-commands.ts is the table of commands. */
import { writeSync } from "node:fs"
import { parseArgs } from "node:util"
import { BrokerProblem, BrokerUnreachable, Client, type Fetch } from "../client.ts"
import { readTopConfig } from "../config/config.ts"
import { stopSignal } from "../signals.ts"
import { escapeInterpreted } from "../terminal.ts"
import { COLUMNS, helpText, runProgram, wrapText } from "./help.ts"
import { Token } from "./token.ts"
import { Call, type Command, type Option, type Printed, UsageError } from "./tq-call.ts"
import { COMMANDS } from "./tq-commands.ts"

/** Exit codes. */
const DONE = 0
const FAILED = 1
const WRONG_ARGUMENTS = 2
const INTERRUPTED = 130
const NO_READER = 141

/** The width of tables that are not printed on a terminal. */
const WIDE_COLUMNS = 200
const MEANING_COLUMN = 24

const COMMON_OPTIONS = {
  json: { meaning: "print the answer of the broker as JSON" },
  help: { meaning: "this page" },
} satisfies Command["options"]

/** The help of one command. */
export function commandHelp(name: string): string {
  const { takes, about, options, examples } = COMMANDS[name]!
  const rows = Object.entries<Option>({ ...options, ...COMMON_OPTIONS }).map(
    ([option, { value, meaning }]) => {
      const head = `  --${option}${value === undefined ? "" : ` <${value}>`}`.padEnd(MEANING_COLUMN)
      const lines = wrapText(meaning, COLUMNS - MEANING_COLUMN)
      return head + lines.join(`\n${" ".repeat(MEANING_COLUMN)}`)
    },
  )
  return `bun run tq ${name}${takes === "" ? "" : ` ${takes}`} [options]

${wrapText(about, COLUMNS).join("\n")}

${rows.join("\n")}

Examples:
${examples.map(example => `  bun run tq ${example}`).join("\n")}`
}

/** The command that these arguments begin with, and the other arguments. */
function findCommand(args: readonly string[]): { name: string; rest: string[] } | undefined {
  for (const words of [2, 1]) {
    const name = args.slice(0, words).join(" ")
    if (args.length >= words && Object.hasOwn(COMMANDS, name)) return { name, rest: args.slice(words) }
  }
  return undefined
}

function readArguments(name: string, args: string[]) {
  const { takes, options } = COMMANDS[name]!
  const known = Object.entries<Option>({ ...options, ...COMMON_OPTIONS })
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: Object.fromEntries(
        known.map(([option, { value, multiple = false }]) => [
          option,
          { type: value === undefined ? "boolean" : "string", multiple },
        ]),
      ),
    })
    if (values.help === true) return { values, positionals }
    const required = takes.split(" ").filter(word => word.startsWith("<"))
    const missing = required[positionals.length]
    if (missing !== undefined) throw new UsageError(`${missing} is missing`)
    const extra = positionals[takes.split(" ").filter(word => word !== "").length]
    if (extra !== undefined && !takes.endsWith("...")) throw new UsageError(unexpected(name, extra))
    return { values, positionals }
  } catch (error) {
    throw String((error as { code?: unknown }).code).startsWith("ERR_PARSE_ARGS")
      ? new UsageError((error as Error).message)
      : error
  }
}

function unexpected(name: string, argument: string): string {
  const longer = Object.keys(COMMANDS).filter(other => other.startsWith(`${name} `))
  return longer.length === 0
    ? `unexpected argument ${JSON.stringify(argument)}`
    : `there is no command ${JSON.stringify(`${name} ${argument}`)}; there are ${longer.join(", ")}`
}

/** Unlike console.log, this notices that nobody reads any more, as in `tq tail | head`. */
function printLine(line: string): void {
  let rest = Buffer.from(`${escapeInterpreted(line)}\n`)
  while (rest.length > 0)
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") process.exit(NO_READER)
      Bun.sleepSync(5)
    }
}

async function runCommand(name: string, args: string[]): Promise<number> {
  const warn = (message: string) =>
    console.error(escapeInterpreted(`tq ${name}: ${message}`).replaceAll("\\u000a", "\n"))
  const fail = (message: string, code: number) => {
    warn(message)
    return code
  }
  const stop = stopSignal()
  try {
    const { values, positionals } = readArguments(name, args)
    if (values.help === true) {
      console.log(commandHelp(name))
      return DONE
    }
    const config = readTopConfig()
    const token = await Token.read(config)
    if (token === undefined)
      return fail(
        `there is no token: set API_SECRET_TOKEN, or set DATA_DIR to the data directory of a broker on this machine (${config.dataDir} contains no token)`,
        FAILED,
      )
    let answerText = ""
    const send: Fetch = async (url, request) => {
      const response = await fetch(url, request)
      answerText = await response.text()
      return new Response(answerText === "" ? null : answerText, response)
    }
    const print = ({ lines, json }: Printed) => {
      const text = json === undefined ? answerText : typeof json === "string" ? json : JSON.stringify(json)
      for (const line of values.json !== true ? lines : text === "" ? [] : [text]) printLine(line)
    }
    const client = new Client({ url: config.brokerUrl, token, fetch: send })
    const columns = process.stdout.columns || WIDE_COLUMNS
    const call = new Call(client, positionals, values, stop, () => answerText, print, columns, warn)
    const printed = await COMMANDS[name]!.run(call)
    print(printed)
    return printed.failure === undefined ? DONE : fail(printed.failure, FAILED)
  } catch (error) {
    if (stop.aborted) return INTERRUPTED
    if (error instanceof UsageError)
      return fail(`${error.message}. See: bun run tq ${name} --help`, WRONG_ARGUMENTS)
    if (!(error instanceof BrokerProblem || error instanceof BrokerUnreachable)) throw error
    return fail(error.message, FAILED)
  }
}

async function main(args: string[]): Promise<number> {
  const found = findCommand(args)
  if (found !== undefined) return runProgram("tq", [], () => runCommand(found.name, found.rest))
  const [first] = args
  if (first === undefined) {
    console.error(helpText("tq").trimEnd())
    return WRONG_ARGUMENTS
  }
  if (first.startsWith("-")) return runProgram("tq", args, async () => DONE)
  const known = Object.keys(COMMANDS).filter(name => !name.includes(" "))
  console.error(
    `tq: there is no command ${escapeInterpreted(JSON.stringify(first))}; the commands are ${known.join(", ")}`,
  )
  return WRONG_ARGUMENTS
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)))
