/**
 * Puts the text of a script together from its own statements and the shared definitions that they use, directly or through
 * other definitions. At each call Lua creates every function that it passes, and Redis a string for every key: with all
 * definitions and keys, a call took 12 µs before its first command.
 *   1. A definition stands directly before the first statement that uses it, so it costs nothing after an early return.
 *   2. A function that the body of an `if` uses stands in that body, so it costs nothing if the condition is false. It may
 *      be defined again later, which changes nothing: functions have no state of their own.
 * Shared files consist of definitions only. Their initial values must not depend on when they are evaluated.
 */

/** A top-level statement with the comment above it. It begins in the first column and ends before the next one. */
const STATEMENT = /(?:^--.*\n)*^(?!end\b|else)\w.*(?:\n(?:(?:[ \])}]|end\b|else).*)?)*/gm
const BLOCK_COMMENT = /^--\[\[.*?\]\]\n/gms
const DEFINED = /^(?:local )?function (\w+)|^local ([\w, ]+)/m
const COMMENT_OR_TEXT = /--.*|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/g
/** A name, but not a member, such as `state` in `t.state`. */
const NAME = /(?<!\w|(?<!\.)\.)[A-Za-z_]\w*/g
/** An `if` of several lines without `else`: its condition and its body. */
const IF = /^((?:--.*\n)*if .* then\n)((?:.*\n)*end\n*)$/

interface Definition {
  text: string
  names: readonly string[]
  uses: readonly string[]
  isFunction: boolean
}

export const namesIn = (lua: string): string[] => [
  ...new Set(lua.replace(COMMENT_OR_TEXT, "").match(NAME) ?? []),
]

export const statementsOf = (lua: string): string[] => lua.replace(BLOCK_COMMENT, "").match(STATEMENT) ?? []

/** The definitions of shared files, in their order. */
export const definitionsIn = (files: readonly string[]): Definition[] =>
  files.flatMap(statementsOf).map(text => {
    const [, fn, variables] = DEFINED.exec(text) ?? []
    if (fn === undefined && variables === undefined) throw new Error(`not a definition: ${text}`)
    const names = fn === undefined ? variables!.split(",").map(name => name.trim()) : [fn]
    return {
      text,
      names,
      uses: namesIn(text).filter(name => !names.includes(name)),
      isFunction: fn !== undefined,
    }
  })

/** The statements of a script, with the definitions that they use. */
export function withDefinitions(source: string, shared: readonly Definition[]): string {
  const byName = Map.groupBy(
    shared.flatMap(definition => definition.names.map(name => ({ name, definition }))),
    ({ name }) => name,
  )
  const placed = new Set<Definition>()
  /** What is needed for these names and has no place yet. */
  const needed = (names: readonly string[], found = new Set<Definition>()): Set<Definition> => {
    for (const name of names)
      for (const { definition } of byName.get(name) ?? [])
        if (!placed.has(definition) && !found.has(definition)) needed(definition.uses, found.add(definition))
    return found
  }
  const textOf = (definitions: Set<Definition>) =>
    shared.flatMap(definition => (definitions.has(definition) ? [`${definition.text.trimEnd()}\n`] : []))
  const place = (definitions: Set<Definition>) => {
    for (const definition of definitions) placed.add(definition)
    return textOf(definitions)
  }
  return statementsOf(source)
    .flatMap(statement => {
      const [, condition, body] = IF.exec(statement) ?? []
      if (condition === undefined || /^else/m.test(statement))
        return [...place(needed(namesIn(statement))), statement]
      const values = [...needed(namesIn(body!))].filter(({ isFunction }) => !isFunction)
      const before = place(
        needed([...namesIn(condition), ...values.flatMap(({ uses }) => uses)], new Set(values)),
      )
      return [...before, condition, ...textOf(needed(namesIn(body!))), body!]
    })
    .join("")
}
