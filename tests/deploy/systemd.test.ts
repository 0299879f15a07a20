/** The units of systemd, checked by systemd itself. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { root } from "../support/documents.ts"
import { directory } from "../support/processes.ts"

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
