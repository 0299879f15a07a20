/** The units of systemd, checked by systemd itself. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { code, root } from "../support/documents.ts"
import { directory } from "../support/processes.ts"

test("the first command of the document installs the program that the units start", async () => {
  await using dir = await directory()
  const target = join(dir.path, "bun")
  const [first] = (await code("lib/deploy/README.md", "## systemd", "bash")).split("\n")
  const install = first!.replace(".ci/setup && sudo ", "").replace("/usr/local/bin/bun", target)
  expect(install).not.toBe(first!)
  expect(Bun.spawnSync(["sh", "-c", install]).exitCode).toBe(0)
  expect(Bun.spawnSync([target, "--version"]).stdout.toString().trim()).toBe(Bun.version)
})

const program = Bun.which("systemd-analyze")
if (program === null) console.warn("systemd-analyze is not installed: the units were not checked")

test.skipIf(program === null)("systemd-analyze finds nothing wrong with the units", async () => {
  await using dir = await directory()
  const check = async (edit = (text: string) => text) => {
    const paths: string[] = []
    for (const name of ["task-queue-broker.service", "task-queue-worker@.service"]) {
      const text = await Bun.file(join(root, "lib/deploy", name)).text()
      // An instance, and a program that exists here.
      const path = join(dir.path, name.replace("@", "@1"))
      await Bun.write(path, edit(text.replace("/usr/local/bin/bun", process.execPath)))
      paths.push(path)
    }
    const { stderr } = Bun.spawnSync([program!, "verify", "--man=no", ...paths])
    return stderr
      .toString()
      .split("\n")
      .filter(line => line.includes("task-queue"))
  }
  expect(await check()).toEqual([])
  expect(await check(text => text.replace("Restart=always", "Restart=maybe"))).toHaveLength(2)
})
