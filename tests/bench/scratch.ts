/** A directory for the files of servers other than Redis. It is removed when the bench ends, also if it fails. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { join } from "node:path"

let root: string | undefined
let count = 0

export function scratchDirectory(): string {
  if (root === undefined) {
    const made = mkdtempSync("/tmp/tq-bench-")
    chmodSync(made, 0o711) // PostgreSQL runs as another user
    process.on("exit", () => rmSync(made, { recursive: true, force: true }))
    root = made
  }
  const path = join(root, `${count++}`)
  mkdirSync(path)
  return path
}
