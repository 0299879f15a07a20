/**
 * `bun run pack [file]`: builds the package for Node, a tarball for `npm install`. It contains one JavaScript file without
 * dependencies, the types, and the types of TypeBox, from which ours derive.
 */
import { existsSync, statSync } from "node:fs"
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join, relative, resolve } from "node:path"
import { $, Glob } from "bun"
import manifest from "../../package.json" with { type: "json" }
import { runProgram } from "./help.ts"

const ROOT = join(import.meta.dir, "../..")
const ENTRY = "lib/worker/node-package.ts"
const TSC = join(ROOT, "node_modules/.bin/tsc")
const TYPEBOX = "@sinclair/typebox"

const { name, version, description, license } = manifest
const MANIFEST = {
  name,
  version,
  description,
  license,
  type: "module",
  engines: { node: ">=20" },
  exports: { ".": { types: `./types/${ENTRY.replace(".ts", ".d.ts")}`, default: "./index.js" } },
  sideEffects: false,
}

const README = `# ${name}

A client and a worker for the task queue, for Node 20 or newer.

\`\`\`js
import { Client, Worker } from "${name}"

const broker = { url: "http://localhost:5000", token: process.env.API_SECRET_TOKEN }
const worker = new Worker({ ...broker, handlers: { greet: name => \`Hello, \${name}\` } })
process.once("SIGTERM", () => worker.stop())
const ended = worker.run()

const { task_id } = await new Client(broker).submit({ type: "greet", payload: "Ada" })
await ended
\`\`\`
`

/** Builds the tarball at this path. */
async function buildPackage(file: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "tq-pack-"))
  try {
    const folder = join(work, "package")
    await mkdir(folder)
    await Promise.all([bundle(folder), writeTypes(join(work, "sources"), join(folder, "types"))])
    await Bun.write(join(folder, "package.json"), `${JSON.stringify(MANIFEST, null, 2)}\n`)
    await Bun.write(join(folder, "README.md"), README)
    await cp(join(ROOT, "LICENSE"), join(folder, "LICENSE"))
    await mkdir(dirname(file), { recursive: true })
    await $`tar -czf ${file} -C ${work} package`.quiet()
  } finally {
    await rm(work, { recursive: true })
  }
}

async function bundle(folder: string): Promise<void> {
  const built = await Bun.build({ entrypoints: [join(ROOT, ENTRY)], target: "node", format: "esm" })
  await Bun.write(join(folder, "index.js"), await built.outputs[0]!.text())
}

/** TypeScript can only name these symbols of TypeBox, which many types contain, in a file that imports them. */
const SYMBOLS = `\nimport { Hint, Kind, OptionalKind, ReadonlyKind } from "${TYPEBOX}"\n`

/** Emits the types of a copy of the sources, and copies those that the types of the entry need. */
async function writeTypes(work: string, folder: string): Promise<void> {
  for await (const path of new Glob("lib/**/*.ts").scan(ROOT)) {
    const text = await readFile(join(ROOT, path), "utf8")
    await Bun.write(join(work, path), text.includes(`"${TYPEBOX}"`) ? text + SYMBOLS : text)
  }
  await cp(join(ROOT, "package.json"), join(work, "package.json"))
  await symlink(join(ROOT, "node_modules"), join(work, "node_modules"))
  const emitted = join(work, "types")
  const compilerOptions = {
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    noUnusedLocals: false,
    rootDir: work,
    outDir: emitted,
  }
  const config = { extends: join(ROOT, "tsconfig.json"), compilerOptions, files: [ENTRY], include: [] }
  await Bun.write(join(work, "tsconfig.json"), JSON.stringify(config))
  await $`${TSC}`.cwd(work).quiet()
  await copyTypes(emitted, folder, ENTRY.replace(".ts", ".d.ts"))
  const typebox = join(ROOT, "node_modules", TYPEBOX, "build/esm")
  const isType = (path: string) => !/\.mjs$|esm\/(compiler|errors|parser|syntax|system|value)$/.test(path)
  await cp(typebox, join(folder, "typebox"), { recursive: true, filter: isType })
}

/** Copies the types of a file and of all that it imports. Imports name the files of the package. */
async function copyTypes(from: string, to: string, file: string, copied = new Set<string>()): Promise<void> {
  if (copied.has(file)) return
  copied.add(file)
  const imports: string[] = []
  const text = (await readFile(join(from, file), "utf8"))
    .replaceAll(/(?<=\bfrom "|\bimport\("|\bimport ")(\.[^"]+)\.ts(?=")/g, (_, path) => {
      imports.push(join(dirname(file), `${path}.d.ts`))
      return `${path}.js`
    })
    .replaceAll(`"${TYPEBOX}"`, JSON.stringify(`${relative(dirname(file), "typebox")}/index.mjs`))
  await Bun.write(join(to, file), text)
  for (const path of imports) await copyTypes(from, to, path, copied)
}

async function main(path: string): Promise<number> {
  if (!existsSync(TSC)) {
    console.error("pack: the TypeScript compiler is missing. Install the packages of bun.lock: bun install")
    return 1
  }
  const isFolder = existsSync(path) && statSync(path).isDirectory()
  const file = isFolder ? join(path, `${name}-${version}.tgz`) : path
  await buildPackage(file)
  console.log(`Built ${relative(process.cwd(), file)}. To use it: npm install ${file}`)
  return 0
}

if (import.meta.main) {
  const args = process.argv.slice(2)
  const [first, ...others] = args
  const isPath = first !== undefined && !first.startsWith("-")
  const file = resolve(isPath ? first : join(ROOT, ".data", `${name}-${version}.tgz`))
  process.exit(await runProgram("pack", isPath ? others : args, () => main(file)))
}
