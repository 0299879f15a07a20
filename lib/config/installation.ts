/** INSTALLATION: the name and the color by which people tell the dashboards of their environments apart. */
import type { Reader } from "./reader.ts"

const COLORS = ["red", "orange", "green", "blue", "purple", "gray"] as const
/** A name without control characters and commas, and a color. */
const FORM = /^([^,\p{C}]{1,40})(?:, *([a-z]+))?$/u

export interface Installation {
  name: string
  color: (typeof COLORS)[number]
}

/** Without a color it is gray. */
export function readInstallation(read: Reader): Installation | undefined {
  const text = read.text("INSTALLATION")
  if (text === undefined) return undefined
  const [, name, word = "gray"] = FORM.exec(text.trim()) ?? []
  const color = COLORS.find(known => known === word)
  if (name !== undefined && color !== undefined) return { name: name.trim(), color }
  return read.fault(
    `INSTALLATION must be a name of 1 to 40 characters, which may be followed by a comma and a color: ${COLORS.join(", ")}`,
    undefined,
  )
}
