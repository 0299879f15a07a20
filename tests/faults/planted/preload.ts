/**
 * Loaded before everything else in a process that is to have a planted bug: replaces its pieces as its file is read.
 * It imports nothing of the product, as that would be loaded before the plugin is there.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { plugin } from "bun"
import { BUGS } from "./bugs.ts"

const bug = BUGS.find(({ name }) => name === process.env.PLANTED)
if (bug === undefined) throw new Error(`No planted bug is called ${process.env.PLANTED}`)
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
          console.error(`"${find}" stands ${found} times in ${file}, and not once`)
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
