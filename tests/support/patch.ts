/** Changes to the text of scripts, in memory: bugs that the model check must find. */
import type { Runner } from "../../lib/redis/runner.ts"
import { prepareScript, type ScriptName, scriptText } from "../../lib/redis/scripts.ts"

/** So many characters before a line tell its place. */
const LINE = 80

/** A byte limit, so that bytes are counted. */
export const LIMITS = { depth: 0, bytes: 1_000_000_000 }

/** A change to the text of one script, in memory. */
export interface Patch {
  script: ScriptName
  /** Occurs in one definition or statement of the script, which its text may repeat (lib/redis/script-text.ts). */
  line: string
  becomes: string
}

/** The patched text of a script. Throws unless the line occurs, and only in one definition or statement. */
export function patched({ script, line, becomes }: Patch): string {
  const text = scriptText(script, LIMITS)
  const before = new Set(
    text
      .split(line)
      .slice(0, -1)
      .map(part => part.slice(-LINE)),
  )
  if (before.size !== 1)
    throw new Error(`"${line}" occurs in ${before.size} places in ${script}.lua, not in one`)
  return text.replaceAll(line, () => becomes)
}

/** Runs the patched script instead of the original. */
export function patching(runner: Runner, patch: Patch): Runner {
  const original = scriptText(patch.script, LIMITS)
  const other = prepareScript(patched(patch))
  return {
    run: (script, ...rest) => runner.run(script.text === original ? other : script, ...rest),
  }
}
