/** Runs client programs in other languages, as users would write them, against a broker. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { freshName, TOKEN, testBroker } from "../support/harness.ts"

test.each([
  ["Python", "python3", "life.py"],
  ["bash", "bash", "life.sh"],
])(
  "%s: idempotent submit, extend with a checkpoint, and /work",
  async (_, program, file) => {
    await using broker = await testBroker()
    const env = { ...process.env, BROKER_URL: broker.url, API_SECRET_TOKEN: TOKEN, QUEUE: freshName() }
    await using client = Bun.spawn([program, join(import.meta.dir, file)], {
      env,
      stdout: "pipe",
      stderr: "pipe",
    })
    const texts = await Promise.all([client.stdout.text(), client.stderr.text()])
    expect([await client.exited, ...texts]).toEqual([0, expect.stringContaining("checkpoint"), ""])
  },
  30_000,
)
