/** Changes to the text of scripts, in memory: bugs that the model check must find. */
import type { Runner } from "../../lib/redis/runner.ts"
import { prepareScript, type ScriptName, scriptText } from "../../lib/redis/scripts.ts"

/** A byte limit, so that bytes are counted. */
export const LIMITS = { depth: 0, bytes: 1_000_000_000 }

/** A change to the text of one script, in memory. */
export interface Patch {
  script: ScriptName
  /** Occurs exactly once in the text that Redis receives. */
  line: string
  becomes: string
}

/** The patched text of a script. Throws unless the line occurs exactly once. */
export function patched({ script, line, becomes }: Patch): string {
  const text = scriptText(script, LIMITS)
  const found = text.split(line).length - 1
  if (found !== 1) throw new Error(`"${line}" occurs ${found} times in ${script}.lua, not once`)
  return text.replace(line, () => becomes)
}

/** Runs the patched script instead of the original. */
export function patching(runner: Runner, patch: Patch): Runner {
  const original = scriptText(patch.script, LIMITS)
  const other = prepareScript(patched(patch))
  return {
    run: (script, ...rest) => runner.run(script.text === original ? other : script, ...rest),
  }
}
