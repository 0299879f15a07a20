/** SIGHUP stops a process like SIGTERM, unless it was ignored from the start. */
import { expect, test } from "bun:test"
import { join } from "node:path"

const SCRIPT = `import { stopSignal } from ${JSON.stringify(join(import.meta.dir, "../lib/signals.ts"))}
const stop = stopSignal()
stop.addEventListener("abort", () => { console.log("stopped"); process.exit(0) })
console.log("ready")
setTimeout(() => { console.log("still here"); process.exit(0) }, 1500)`

async function hangUp(command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "ignore" })
  const decoder = new TextDecoder()
  let output = ""
  for await (const chunk of child.stdout) {
    output += decoder.decode(chunk)
    if (output === "ready\n") child.kill("SIGHUP")
  }
  return output
}

test("SIGHUP stops in order", async () => {
  expect(await hangUp(["bun", "-e", SCRIPT])).toBe("ready\nstopped\n")
})

test("SIGHUP under nohup is ignored", async () => {
  expect(await hangUp(["sh", "-c", 'trap "" HUP; exec bun -e "$1"', "sh", SCRIPT])).toBe(
    "ready\nstill here\n",
  )
})
