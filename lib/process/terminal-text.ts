/** Text in columns of a terminal: untrusted text, padding, numbers and times. */

/**
 * Untrusted text for the terminal: without control characters, bidirectional marks and stacked accents, cut to so many
 * columns.
 */
export function safeText(text: unknown, columns: number): string {
  const plain = String(text)
    .slice(0, 4 * columns + 1)
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?")
    .replace(/(\p{M}{2})\p{M}+/gu, "$1")
  if (Bun.stringWidth(plain) <= columns) return plain
  let cut = ""
  for (const { segment } of new Intl.Segmenter().segment(plain)) {
    if (Bun.stringWidth(cut + segment) > columns - 1) break
    cut += segment
  }
  return columns > 0 ? `${cut}…` : ""
}

export const left = (text: unknown, columns: number): string => {
  const fits = safeText(text, columns)
  return fits + " ".repeat(Math.max(0, columns - Bun.stringWidth(fits)))
}
export const right = (text: string, columns: number): string => text.padStart(columns).slice(0, columns)

/** Formats a number in at most 7 characters. */
export function formatCount(value: unknown): string {
  const number = Number(value)
  if (!Number.isFinite(number)) return "-"
  if (number < 10 && !Number.isInteger(number)) return number.toFixed(1)
  if (number < 1e6) return Math.round(number).toLocaleString("en")
  return number < 1e9 ? `${(number / 1e6).toFixed(1)}M` : `${(number / 1e9).toFixed(1)}G`
}

export function formatAge(ms: number | undefined): string {
  if (ms === undefined) return "-"
  const seconds = ms / 1_000
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)}s`
  if (seconds < 6_000) return `${Math.floor(seconds / 60)}m`
  return seconds < 360_000 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`
}

/** Lines of a table. Each column is as wide as its widest cell; the last one is cut at the width of the terminal. */
export function tableLines(rows: readonly (readonly string[])[], columns: number): string[] {
  const MAX_CELL = 70
  const cells = rows.map(row => row.map(cell => safeText(cell, MAX_CELL)))
  const widths = (cells[0] ?? []).map((_, i) => Math.max(...cells.map(row => Bun.stringWidth(row[i]!))))
  const taken = widths.slice(0, -1).reduce((sum, width) => sum + width + 2, 0)
  return rows.map((row, r) => {
    const last = safeText(row.at(-1), Math.max(10, columns - taken))
    return [...cells[r]!.slice(0, -1).map((cell, i) => left(cell, widths[i]!)), last].join("  ").trimEnd()
  })
}
