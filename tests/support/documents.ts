/** Reads documents, their tables and their code blocks, so that tests can compare them with the code. */
import { join } from "node:path"

export const root = join(import.meta.dir, "../..")
export const read = (path: string) => Bun.file(join(root, path)).text()

/** The rows of the table with this header, each cell as written. */
export async function table(path: string, header: string): Promise<string[][]> {
  const text = await read(path)
  const from = text.indexOf(`\n${header}\n`)
  if (from < 0) throw new Error(`${path} has no table ${header}`)
  const lines = text.slice(from + 1).split("\n")
  const end = lines.findIndex(line => !line.startsWith("|"))
  return lines.slice(2, end).map(line => line.slice(2, -2).split(" | "))
}

/** A cell without backticks. */
export const bare = (cell: string) => cell.replaceAll("`", "")

/** The first code block in this language after a heading. */
export async function code(path: string, heading: string, language: string): Promise<string> {
  const section = `\n${await read(path)}`.split(`\n${heading}\n`)[1]
  const block = section?.split(`\`\`\`${language}\n`)[1]
  if (block === undefined) throw new Error(`${path} has no ${language} block after ${heading}`)
  return block.split("\n```")[0]!
}
