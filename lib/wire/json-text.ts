/**
 * Cuts members out of JSON text without parsing them. `JSON.parse` and `stringify` would turn 12345678901234567890 into
 * 12345678901234567000 and 1.0 into 1, but a payload must reach its worker exactly as it was sent.
 */

/**
 * The text of one member of each object in `text`, which is valid JSON: one object, or an array. If an object has the
 * member twice, the last one counts, as with JSON.parse. Undefined for an item without the member.
 */
export function memberTexts(text: string, member: string): (string | undefined)[] {
  let at = skipSpace(text, 0)
  if (text[at] === "{") return [memberText(text, at, member).found]
  const found: (string | undefined)[] = []
  at = skipSpace(text, at + 1)
  while (text[at] !== "]") {
    if (text[at] === "{") {
      const object = memberText(text, at, member)
      found.push(object.found)
      at = object.end
    } else {
      found.push(undefined)
      at = skipValue(text, at)
    }
    at = skipSpace(text, at)
    if (text[at] === ",") at = skipSpace(text, at + 1)
  }
  return found
}

/** The names of an object's members, and the texts of their values. `text` is valid JSON that starts with the brace. */
export function membersOf(text: string): [name: string, value: string][] {
  const members: [name: string, value: string][] = []
  let at = skipSpace(text, 1)
  while (text[at] !== "}") {
    const nameEnd = skipString(text, at)
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1)
    const end = skipValue(text, start)
    members.push([JSON.parse(text.slice(at, nameEnd)), text.slice(start, end)])
    at = skipSpace(text, end)
    if (text[at] === ",") at = skipSpace(text, at + 1)
  }
  return members
}

/** Whether the arrays and objects of valid JSON nest more than `max` levels. */
export function isDeeperThan(text: string, max: number): boolean {
  // Each level needs two brackets, so most texts are too short and need no scan.
  if (text.length <= 2 * max) return false
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === 0x22) at = skipString(text, at) - 1
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > max) return true
    } else if (code === 0x7d || code === 0x5d) depth--
  }
  return false
}

function memberText(text: string, open: number, member: string): { found: string | undefined; end: number } {
  let found: string | undefined
  let at = skipSpace(text, open + 1)
  while (text[at] !== "}") {
    const nameEnd = skipString(text, at)
    const name = text.slice(at + 1, nameEnd - 1)
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1)
    const end = skipValue(text, start)
    if (name === member || (name.includes("\\") && JSON.parse(`"${name}"`) === member))
      found = text.slice(start, end)
    at = skipSpace(text, end)
    if (text[at] === ",") at = skipSpace(text, at + 1)
  }
  return { found, end: at + 1 }
}

function skipSpace(text: string, at: number): number {
  for (;;) {
    const code = text.charCodeAt(at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at
    at++
  }
}

/** From an opening quote to the position after the closing one: the first quote after an even number of backslashes. */
export function skipString(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); ; end = text.indexOf('"', end + 1)) {
    let slash = end - 1
    while (text.charCodeAt(slash) === 0x5c) slash--
    if ((end - slash) % 2 === 1) return end + 1
  }
}

/** Counts brackets instead of recursing, so deep JSON cannot exhaust the stack. */
function skipValue(text: string, at: number): number {
  let depth = 0
  for (;;) {
    const code = text.charCodeAt(at)
    if (code === 0x22) {
      at = skipString(text, at)
      if (depth === 0) return at
    } else if (code === 0x7b || code === 0x5b) {
      depth++
      at++
    } else if (code === 0x7d || code === 0x5d) {
      if (depth === 0) return at // the end of a number or a word
      at++
      if (--depth === 0) return at
    } else if (depth === 0 && (code === 0x2c || code <= 0x20 || at >= text.length)) {
      return at
    } else at++
  }
}
