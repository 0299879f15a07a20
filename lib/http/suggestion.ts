/** Finds the known name that a misspelled one most likely means. */

/**
 * The closest known name, or undefined if none is close. Case, punctuation and a missing `_ms` do not count. A typo keeps
 * the first letter: without this, `data` would suggest `meta`. A single word, such as `id`, may stand for the one name
 * that contains it.
 */
export function suggestionFor(name: string, known: readonly string[]): string | undefined {
  if (name.length > MAX_LENGTH) return undefined
  const plain = plainName(name)
  const named = known.filter(candidate => candidate.split("_").includes(name))
  if (named.length === 1) return named[0]
  let closest: string | undefined
  let least = Math.ceil(plain.length / 3) + 1
  for (const candidate of known) {
    if (candidate[0] !== plain[0]) continue
    const distance = editDistance(plain, plainName(candidate))
    if (distance < least) {
      least = distance
      closest = candidate
    }
  }
  return closest
}

/** No known name is longer, and the time that a comparison takes grows with the length. */
const MAX_LENGTH = 40

const plainName = (name: string) =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9]/g, "")
    .replace(/(?<=.)ms$/, "")

/** Levenshtein distance: how many characters must be inserted, deleted or replaced. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < b.length; j++)
      next.push(Math.min(row[j + 1]! + 1, next[j]! + 1, row[j]! + Number(a[i] !== b[j])))
    row = next
  }
  return row[b.length]!
}
