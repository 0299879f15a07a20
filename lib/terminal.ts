/** Text for a terminal: whether to color it, how, and which characters of untrusted text a terminal would interpret. */
import type { WriteStream } from "node:tty"

const CODES = { bold: 1, dim: 2, inverse: 7, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 } as const
export type Style = keyof typeof CODES

/**
 * Whether to color what is written to this stream. FORCE_COLOR decides before NO_COLOR, and both before the terminal, as
 * in Node. An empty variable counts as unset.
 */
export function wantsColor(
  stream: Pick<WriteStream, "isTTY">,
  env: Readonly<Record<string, string | undefined>> = process.env,
): boolean {
  if (env.FORCE_COLOR) return !["0", "false"].includes(env.FORCE_COLOR)
  return !env.NO_COLOR && stream.isTTY === true && env.TERM !== "dumb"
}

export const paint = (style: Style, text: string): string => `\x1b[${CODES[style]}m${text}\x1b[0m`

/** Control characters, line separators and bidirectional marks. */
const INTERPRETED = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/** Escapes what a terminal would interpret, as JSON does, so that JSON text keeps its meaning. */
export const escapeInterpreted = (text: string): string =>
  text.replace(INTERPRETED, mark => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`)

/** Writes a line to stderr. Where console.error would write it in red, it is written to the stream. */
export function writeError(line: string): void {
  if (process.stderr.isTTY || process.env.FORCE_COLOR) process.stderr.write(`${line}\n`)
  else console.error(line)
}
