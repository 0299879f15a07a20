/** Checks what callers send against the models, and says what would be right. Nothing is clamped or coerced. */
import type { Static, TSchema } from "@sinclair/typebox"
import { TypeCompiler, type ValueError, ValueErrorType } from "@sinclair/typebox/compiler"
import { Refused } from "../errors.ts"

/** A function that gives the value back typed, or a Refused that names the member and what it must be. */
export function checker<T extends TSchema>(schema: T): (value: unknown) => Static<T> {
  const compiled = TypeCompiler.Compile(schema)
  return value => {
    if (compiled.Check(value)) return value
    throw asRefused(compiled.Errors(value).First()!)
  }
}

/** The members of a query string as a model wants them: integers from digits, lists from commas or repetition. */
export function queryChecker<T extends TSchema>(schema: T): (query: URLSearchParams) => Static<T> {
  const check = checker(schema)
  return query => {
    const value: Record<string, unknown> = Object.create(null)
    for (const name of new Set(query.keys())) {
      const kind = schema.properties[name]?.type
      const texts = query.getAll(name)
      if (kind === "array") value[name] = texts.flatMap(text => text.split(","))
      else if (texts.length > 1)
        throw new Refused("bad_request", { ...named(name), detail: "A parameter of the query stands twice." })
      else value[name] = kind === "integer" && /^\d{1,15}$/.test(texts[0]!) ? Number(texts[0]) : texts[0]
    }
    return check(value)
  }
}

function asRefused({ path, schema, type }: ValueError): Refused {
  const names = path.split("/").slice(1)
  const name = names.at(-1) ?? ""
  const field = names.join(".")
  if (type === ValueErrorType.ObjectRequiredProperty)
    return new Refused("bad_request", {
      field,
      detail: `\`${field}\` is missing: it must be ${describe(schema)}.`,
    })
  if (type === ValueErrorType.ObjectAdditionalProperties)
    return new Refused("bad_request", {
      ...named(name),
      detail:
        schema.properties === undefined
          ? `\`${names.slice(0, -1).join(".")}\` must be ${describe(schema)}.`
          : `There is no such member; known are ${Object.keys(schema.properties).join(", ")}.`,
    })
  if (field === "")
    return new Refused("bad_request", {
      detail: "The body must be an object, or an array of 1 to 1,000 objects where the route takes many.",
    })
  return new Refused("bad_request", { field, detail: `\`${field}\` must be ${describe(schema)}.` })
}

/** A name that the caller made up is only said again where it cannot be anything but a name. */
const named = (name: string) => (/^[A-Za-z0-9_-]{1,40}$/.test(name) ? { field: name } : {})

function describe(schema: TSchema): string {
  const text = schema.description === undefined ? "" : ` (${schema.description})`
  if (schema.anyOf)
    return `one of ${schema.anyOf.map((one: TSchema) => JSON.stringify(one.const)).join(", ")}`
  switch (schema.type) {
    case "integer":
      return `a whole number from ${schema.minimum} to ${schema.maximum}${text}`
    case "string":
      if (schema.pattern !== undefined) return `a string: ${schema.description}`
      return schema.maxLength === undefined
        ? `a string${text}`
        : `a string of ${schema.minLength ?? 0} to ${schema.maxLength} characters${text}`
    case "array":
      return `a list of ${schema.minItems ?? 0} to ${schema.maxItems}, each ${describe(schema.items)}`
    case "boolean":
      return `true or false${text}`
    case "object":
      return `an object${text}`
    default:
      return schema.description ?? "something else"
  }
}
