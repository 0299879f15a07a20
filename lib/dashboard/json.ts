/** Formats JSON without parsing it, so that numbers such as 12345678901234567890 keep all their digits. */
import { skipString } from "../wire/json-text.ts"

/** Indents JSON and cuts the result off after `maxChars` characters. Indentation stops growing at depth 40. */
export function indentJson(json: string, maxChars = Infinity): string {
  const parts: string[] = []
  let size = 0
  let depth = 0
  const add = (text: string) => {
    parts.push(text)
    size += text.length
  }
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`
  for (let i = 0; i < json.length && size < maxChars; ) {
    const c = json[i]!
    if (c === '"') {
      const end = skipString(json, i)
      add(json.slice(i, Math.min(end, i + maxChars)))
      i = end
    } else if (c === "{" || c === "[") {
      const close = /\S/.exec(json.slice(i + 1, i + 20))
      if (close && (close[0] === "}" || close[0] === "]")) {
        add(c + close[0])
        i += close.index + 2
      } else {
        depth++
        add(c + line())
        i++
      }
    } else if (c === "}" || c === "]") {
      depth--
      add(line() + c)
      i++
    } else if (c === ",") {
      add(c + line())
      i++
    } else if (c === ":") {
      add(": ")
      i++
    } else if (/\s/.test(c)) i++
    else {
      let end = i + 1
      while (end < json.length && !/[\s,:{}[\]"]/.test(json[end]!)) end++
      add(json.slice(i, end))
      i = end
    }
  }
  return parts.join("").slice(0, maxChars)
}

/** Writes invisible characters as JSON escapes. The value stays the same. */
export const escapeInvisibleJson = (json: string): string =>
  json.replace(
    /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
