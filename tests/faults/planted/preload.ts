/**
 * Loaded before all other modules in a process with a planted bug: replaces the texts of the bug while its file is loaded.
 * It imports no module of the product, because that would be loaded before the plugin is installed.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { plugin } from "bun"
import { BUGS } from "./bugs.ts"

const bug = BUGS.find(({ name }) => name === process.env.PLANTED)
if (bug === undefined) throw new Error(`There is no planted bug ${process.env.PLANTED}`)
const { file, edits } = bug

plugin({
  name: "planted",
  setup(build) {
    const path = join(import.meta.dir, "../../..", file)
    build.onLoad({ filter: new RegExp(`^${path.replace(/[.]/g, "\\.")}$`) }, async () => {
      let text = await Bun.file(path).text()
      for (const [find, replace] of edits) {
        const found = text.split(find).length - 1
        if (found !== 1) {
          console.error(`"${find}" occurs ${found} times in ${file} instead of once`)
          process.exit(1)
        }
        text = text.replace(find, () => replace)
      }
      writeFileSync(process.env.PLANTED_SIGN!, "")
      return file.endsWith(".lua")
        ? { contents: `export default ${JSON.stringify(text)}`, loader: "js" }
        : { contents: text, loader: "ts" }
    })
  },
})
