/** Checks of the repository's layout: which room imports which, circles between files, links, long test files. */
import { dirname, join, normalize } from "node:path"

/** A path relative to the root of the repository, and the text of that file. */
export type Files = ReadonlyMap<string, string>

/** For each room, the rooms and files that it may import. A room is a directory of lib/ or a file beside them. */
export type Rules = Readonly<Record<string, readonly string[]>>

interface Import {
  from: string
  line: number
  to: string
}

const IMPORT =
  /(?:^|[\n;}]\s*)(?:import|export)\s(?:[^"';]*?\sfrom\s+)?"(\.[^"]+)"|\bimport\(\s*"(\.[^"]+)"\s*\)/g

/** Every import of another file of the repository, in file order. */
function importsOf(files: Files): Import[] {
  const found: Import[] = []
  for (const [from, text] of files)
    for (const match of text.matchAll(IMPORT)) {
      const path = match[1] ?? match[2]!
      const end = match.index + match[0].length
      found.push({
        from,
        line: text.slice(0, end).split("\n").length,
        to: normalize(join(dirname(from), path)),
      })
    }
  return found
}

/** `lib/queue/audit.ts` is in the room `queue`; `lib/log.ts` and `broker.ts` are rooms of their own. */
function roomOf(path: string): string {
  const parts = path.split("/")
  return parts[0] === "lib" ? parts[1]! : parts[0]!
}

/** One line for each import that no rule allows, and for each room that has no rule. */
export function forbiddenImports(files: Files, rules: Rules, tools: readonly string[]): string[] {
  const faults = new Set<string>()
  for (const path of files.keys())
    if (rules[roomOf(path)] === undefined)
      faults.add(`${path}: the room ${roomOf(path)} is not in the table of rooms`)
  for (const { from, line, to } of importsOf(files)) {
    const [room, other] = [roomOf(from), roomOf(to)]
    if (room === other || tools.includes(other)) continue
    const allowed = [...new Set([...(rules[room] ?? []), ...(rules[from] ?? [])])]
    if (!allowed.includes(other) && !allowed.includes(to))
      faults.add(`${from}:${line} imports ${to}; ${room} may import ${[...allowed, ...tools].join(", ")}`)
  }
  return [...faults]
}

/** Circles between files: for each group of files that import one another, their names. */
export function circles(files: Files): string[][] {
  const next = new Map<string, string[]>([...files.keys()].map(path => [path, []]))
  for (const { from, to } of importsOf(files)) if (next.has(to)) next.get(from)!.push(to)
  const reachable = new Map<string, Set<string>>()
  for (const start of next.keys()) {
    const seen = new Set<string>()
    const open = [...next.get(start)!]
    for (let path = open.pop(); path !== undefined; path = open.pop())
      if (!seen.has(path)) {
        seen.add(path)
        open.push(...next.get(path)!)
      }
    reachable.set(start, seen)
  }
  const groups = new Map<string, string[]>()
  for (const path of [...next.keys()].sort()) {
    if (!reachable.get(path)!.has(path)) continue
    const group = [...reachable.get(path)!].filter(other => reachable.get(other)!.has(path)).sort()
    groups.set(group[0]!, group)
  }
  return [...groups.values()]
}

/** The anchors of a Markdown text, as GitHub makes them from headings. */
export function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>()
  const count = new Map<string, number>()
  for (const [, title] of withoutCode(text).matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const slug = title!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .replaceAll("`", "")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-")
    const times = count.get(slug) ?? 0
    count.set(slug, times + 1)
    anchors.add(times === 0 ? slug : `${slug}-${times}`)
  }
  for (const [, id] of text.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id!)
  return anchors
}

const withoutCode = (text: string) => text.replace(/^(```+)[^\n]*\n.*?^\1 *$/gms, "")

/** One line for each broken relative link in a document. `exists` gets paths relative to the root. */
export function brokenLinks(documents: Files, exists: (path: string) => boolean): string[] {
  const faults: string[] = []
  for (const [path, text] of documents)
    for (const [, link] of withoutCode(text)
      .replace(/`[^`\n]*`/g, "")
      .matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)|(?:src|href)="([^"]+)"/g)
      .map(match => [match[0], match[1] ?? match[2]!] as const)) {
      if (/^[a-z][a-z0-9+.-]*:/i.test(link) || link.startsWith("//")) continue
      const [file, anchor] = link.split("#") as [string, string | undefined]
      const target = file === "" ? path : normalize(join(dirname(path), decodeURI(file))).replace(/\/$/, "")
      if (file !== "" && target !== "." && !exists(target)) faults.push(`${path}: ${link}: no such file`)
      else if (
        anchor !== undefined &&
        documents.has(target) &&
        !anchorsOf(documents.get(target)!).has(anchor)
      )
        faults.push(`${path}: ${link}: no such heading`)
    }
  return faults
}
