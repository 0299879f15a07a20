/** JSON as text: cut into members and indented without being parsed, so that 12345678901234567890 stays what it is. */

/** The members of an object as their own texts. The JSON is known to be good: the broker wrote it. */
export function membersOf(json: string): Map<string, string> {
  const members = new Map<string, string>()
  let at = json.indexOf("{") + 1
  while (at > 0 && at < json.length) {
    const nameAt = json.indexOf('"', at)
    if (nameAt < 0) break
    const nameEnd = endOfString(json, nameAt)
    const valueAt = json.indexOf(":", nameEnd) + 1
    const valueEnd = endOfValue(json, valueAt)
    members.set(JSON.parse(json.slice(nameAt, nameEnd)), json.slice(valueAt, valueEnd).trim())
    at = valueEnd + 1
  }
  return members
}

function endOfString(json: string, at: number): number {
  let end = at + 1
  for (;;) {
    const quote = json.indexOf('"', end)
    if (quote < 0) return json.length
    let slashes = quote
    while (json[slashes - 1] === "\\") slashes--
    if ((quote - slashes) % 2 === 0) return quote + 1
    end = quote + 1
  }
}

/** Where the comma or bracket after a value stands. */
function endOfValue(json: string, at: number): number {
  let depth = 0
  for (let i = at; i < json.length; i++) {
    const c = json[i]
    if (c === '"') i = endOfString(json, i) - 1
    else if (c === "{" || c === "[") depth++
    else if (c === "}" || c === "]") {
      if (depth-- === 0) return i
    } else if (c === "," && depth === 0) return i
  }
  return json.length
}

/** Indented; of more than `most` characters the beginning. Deep nesting is not indented for ever. */
export function indented(json: string, most = Infinity): string {
  const parts: string[] = []
  let size = 0
  let depth = 0
  const add = (text: string) => {
    parts.push(text)
    size += text.length
  }
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`
  for (let i = 0; i < json.length && size < most; ) {
    const c = json[i]!
    if (c === '"') {
      const end = endOfString(json, i)
      add(json.slice(i, Math.min(end, i + most)))
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
  return parts.join("").slice(0, most)
}

/** The same JSON with what cannot be seen written as escapes. */
export const visibleJson = (json: string): string =>
  json.replace(
    /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
