/** The OpenAPI document as used by the fuzzer: valid requests for each route, and the allowed answers. */
import { Ajv, type ValidateFunction } from "ajv"
import fc from "fast-check"
import type { Chance } from "../faults/seed.ts"

export type Schema = Record<string, unknown> & {
  $ref?: string
  type?: string
  enum?: unknown[]
  anyOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
  pattern?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
}
type Content = Record<string, { schema: Schema; examples?: Record<string, { value: { code?: string } }> }>
interface Operation {
  parameters?: { name: string; in: string; required?: boolean; schema: Schema }[]
  requestBody?: { content: Content }
  responses: Record<string, { content?: Content }>
}

export interface Route {
  name: string
  method: string
  path: string
  parameters: { name: string; in: string; required?: boolean; schema: Schema }[]
  body: Schema | undefined
  /** The documented error codes by status. */
  codes: Map<number, Set<string>>
  /** Throws an explanation if an answer with this status does not fit. */
  fits: Map<number, ValidateFunction>
}

export class Document {
  readonly routes: Route[]
  readonly problem: ValidateFunction
  readonly #schemas: Record<string, Schema>
  /** Strings that match a pattern, cached because generating them is slow. */
  readonly #matching = new Map<string, string[]>()

  constructor(
    document: {
      paths: Record<string, Record<string, Operation>>
      components: { schemas: Record<string, Schema> }
    },
    private readonly seed: number,
  ) {
    const ajv = new Ajv({ strict: false }).addSchema(document, "document")
    const compile = (schema: Schema) =>
      ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"document#/components')))
    this.#schemas = document.components.schemas
    this.problem = compile({ $ref: "#/components/schemas/Problem" })
    this.routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).flatMap(([method, { parameters = [], requestBody, responses }]) => {
        // This answer never ends.
        if (responses["200"]?.content?.["text/event-stream"]) return []
        const codes = new Map<number, Set<string>>()
        const fits = new Map<number, ValidateFunction>()
        for (const [status, { content = {} }] of Object.entries(responses))
          for (const { schema, examples = {} } of Object.values(content)) {
            fits.set(Number(status), compile(schema))
            const shown = Object.values(examples).map(({ value }) => value.code ?? "")
            codes.set(Number(status), new Set(shown))
          }
        const body = requestBody?.content["application/json"]?.schema
        return {
          name: `${method.toUpperCase()} ${path}`,
          method: method.toUpperCase(),
          path,
          parameters,
          body,
          codes,
          fits,
        }
      }),
    )
  }

  /** A value that the schema allows. `known` may supply the value of a member by name. */
  value(schema: Schema, chance: Chance, known: (name: string) => unknown, name = ""): unknown {
    const found = known(name)
    if (found !== undefined && schema.type !== "array") return found
    if (schema.$ref) return this.value(this.#schemas[schema.$ref.split("/").at(-1)!]!, chance, known, name)
    if (schema.enum) return chance.one(schema.enum)
    if (schema.anyOf)
      return this.value(chance.maybe(0.7) ? schema.anyOf[0]! : chance.one(schema.anyOf), chance, known, name)
    switch (schema.type) {
      case "object": {
        const value: Record<string, unknown> = {}
        for (const [member, of] of Object.entries(schema.properties ?? {}))
          if (schema.required?.includes(member) || chance.maybe(0.2))
            value[member] = this.value(of, chance, known, member)
        if (typeof schema.additionalProperties === "object")
          for (let i = chance.between(0, 3); i > 0; i--) value[`label-${i}`] = chance.one(TEXTS).slice(0, 128)
        return value
      }
      case "array":
        return Array.from({ length: chance.maybe(0.9) ? chance.between(1, 3) : chance.between(1, 20) }, () =>
          this.value(schema.items ?? {}, chance, known, name.replace(/s$/, "")),
        )
      case "integer":
        return chance.one([
          schema.minimum!,
          schema.minimum! + 1,
          chance.between(schema.minimum!, Math.min(schema.maximum!, 5_000)),
          schema.maximum!,
        ])
      case "boolean":
        return chance.maybe(0.5)
      case "string":
        if (schema.pattern) return chance.one(this.#strings(schema.pattern))
        return chance.one(TEXTS).slice(0, schema.maxLength ?? 10_000) || "x"
      default:
        return chance.one(this.#json())
    }
  }

  #strings(pattern: string): string[] {
    let strings = this.#matching.get(pattern)
    if (strings === undefined) {
      strings = fc.sample(fc.stringMatching(new RegExp(pattern)), { numRuns: 100, seed: this.seed })
      this.#matching.set(pattern, strings)
    }
    return strings
  }

  #values: unknown[] | undefined
  #json(): unknown[] {
    this.#values ??= fc.sample(fc.jsonValue({ maxDepth: 3 }), { numRuns: 200, seed: this.seed })
    return this.#values
  }
}

export const MARK = "fz<7>"
/** Texts that may break careless code. The first ones are harmless. */
export const TEXTS = [
  "a",
  "mail",
  "x".repeat(200),
  "é漢😀",
  MARK,
  `${MARK}${MARK}`,
  "__proto__",
  "constructor",
  "toString",
  "",
  " ",
  "\n",
  "\x00",
  "\x1f",
  "a\nb\x1fc",
  "\u2028",
  "\ufeff",
  "\ud800",
  "\udc00x",
  '"',
  "\\",
  '\\"',
  "'",
  "{}",
  "[]",
  "%00",
  "%zz",
  "../../etc/passwd",
  "..",
  ".",
  "a:b",
  ":",
  "tq:{x}:task:y",
  "{default}",
  "*",
  "EVAL",
  "$(id)",
  "<script>",
  "\r\nX-A: b",
  "x".repeat(65),
  "x".repeat(300),
  "x".repeat(8_193),
  "0",
  "-1",
  "1e999",
  "null",
  "true",
  "undefined",
  "NaN",
]
