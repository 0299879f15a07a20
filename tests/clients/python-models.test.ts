/** The generated file of the Python package. `REGENERATE=1` writes it. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { $ } from "bun"
import { root } from "../support/documents.ts"
import { testBroker } from "../support/harness.ts"

test("the models and calls of the Python package are those of the OpenAPI document", async () => {
  await using broker = await testBroker()
  const document = await (await fetch(`${broker.url}/swagger/json`)).text()
  const python = join(root, "lib/python")
  const file = Bun.file(join(python, "task_queue/api.py"))
  const generated = await $`python3 ${join(python, "generate.py")} < ${Buffer.from(document)}`.text()
  if (process.env.REGENERATE) await file.write(generated)
  expect(firstDifference(await file.text(), generated)).toBeUndefined()
})

function firstDifference(stored: string, generated: string): string | undefined {
  if (stored === generated) return undefined
  const [old, now] = [stored.split("\n"), generated.split("\n")]
  const at = now.findIndex((line, i) => line !== old[i])
  return `line ${at + 1} is ${old[at]}, and the OpenAPI document says ${now[at]}: run this test with REGENERATE=1`
}
