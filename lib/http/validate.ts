/** Checks what clients send against schemas, and says what would be valid. Nothing is clamped or coerced. */
import type { Static, TObject, TSchema } from "@sinclair/typebox"
import { TypeCompiler, type ValueError, ValueErrorType } from "@sinclair/typebox/compiler"
import { Refused } from "../errors.ts"
import { EARLIEST_TIME } from "../wire/fields.ts"
import type { Fault } from "../wire/problem.ts"
import { urlOf } from "./answer.ts"
import { suggestionFor } from "./suggestion.ts"

const MAX_FAULTS = 10

type WithDefaults<T extends TSchema, D> = Static<T> & Required<Pick<Static<T>, keyof D & keyof Static<T>>>

/** A function that returns its argument typed, with defaults for absent members, or throws every fault in one refusal. */
export function checker<T extends TSchema, D extends Partial<Static<T>> = object>(schema: T, defaults?: D) {
  const compiled = TypeCompiler.Compile(schema)
  return (value: unknown, faults?: readonly Fault[]): WithDefaults<T, D> => {
    if (compiled.Check(value) && !faults?.length)
      return (defaults === undefined ? value : { ...defaults, ...(value as object) }) as WithDefaults<T, D>
    throw invalid([...(faults ?? []), ...faultsIn(compiled.Errors(value))])
  }
}

/** A checker for query strings: integers are read from digits, lists from commas or repetition. */
export function queryChecker<T extends TObject, D extends Partial<Static<T>> = object>(
  schema: T,
  defaults?: D,
) {
  const check = checker(schema, defaults)
  return (query: URLSearchParams): WithDefaults<T, D> => {
    const value: Record<string, unknown> = Object.create(null)
    const repeated: Fault[] = []
    for (const name of new Set(query.keys())) {
      const kind = schema.properties[name]?.type
      const texts = query.getAll(name)
      if (kind === "array") value[name] = texts.flatMap(text => text.split(","))
      else value[name] = kind === "integer" && /^\d{1,15}$/.test(texts[0]!) ? Number(texts[0]) : texts[0]
      if (kind !== "array" && texts.length > 1)
        repeated.push({
          ...fieldOf(name),
          detail: "This parameter must not appear more than once in the query.",
        })
    }
    return check(value, repeated)
  }
}

export const queryOf = (request: Request): URLSearchParams => urlOf(request)!.searchParams

/** A refusal that lists all faults, and repeats the first for clients that read only one. */
export function invalid(faults: readonly Fault[]): Refused {
  const errors = faults.slice(0, MAX_FAULTS)
  return new Refused("bad_request", { ...errors[0], errors })
}

/** The first fault of each member. */
function faultsIn(errors: Iterable<ValueError>): Fault[] {
  const faults = new Map<string, Fault>()
  for (const error of inBranches(errors)) {
    if (!faults.has(error.path)) faults.set(error.path, faultOf(error))
    if (faults.size === MAX_FAULTS) break
  }
  return [...faults.values()]
}

/** For a union of an object and a list, the errors of the branch that the value is meant for. */
function* inBranches(errors: Iterable<ValueError>): Iterable<ValueError> {
  for (const error of errors) {
    const kind = Array.isArray(error.value) ? "array" : typeof error.value
    const at =
      error.schema.anyOf?.findIndex((one: TSchema) => one.type === kind && one.const === undefined) ?? -1
    if (error.type === ValueErrorType.Union && at >= 0) yield* error.errors[at]!
    else yield error
  }
}

function faultOf({ path, schema, type, value }: ValueError): Fault {
  const names = path.split("/").slice(1)
  const name = names.at(-1) ?? ""
  const field = names.join(".")
  if (type === ValueErrorType.ObjectRequiredProperty)
    return { field, detail: `\`${field}\` is missing: it must be ${describe(schema)}.` }
  if (type === ValueErrorType.ObjectAdditionalProperties) {
    const parents = names.slice(0, -1)
    return schema.properties === undefined
      ? { field: parents.join("."), detail: `\`${parents.join(".")}\` must be ${describe(schema)}.` }
      : unknownMember(name, parents, Object.keys(schema.properties))
  }
  if (field === "")
    return {
      detail:
        "The body, or each item of an array, must be an object. Only /submit, /ack and /extend take an array.",
    }
  const detail = `\`${field}\` must be ${describe(schema)}.`
  const isTooEarly = schema.minimum === EARLIEST_TIME && typeof value === "number" && value < EARLIEST_TIME
  return { field, detail: isTooEarly ? `${detail} Did you send seconds?` : detail }
}

function unknownMember(name: string, parents: readonly string[], known: readonly string[]): Fault {
  const suggestion = suggestionFor(name, known)
  const path = fieldOf(name, parents)
  const shown = path.field === undefined ? "" : ` \`${path.field}\``
  const detail =
    suggestion === undefined
      ? `Unknown member${shown}. Known members: ${known.join(", ")}.`
      : `Unknown member${shown}: did you mean \`${[...parents, suggestion].join(".")}\`?`
  return { ...path, detail }
}

/** Repeats a name from the client only if it has the form of a name, so that answers contain no other text of a request. */
const fieldOf = (name: string, parents: readonly string[] = []): Pick<Fault, "field"> =>
  /^[A-Za-z0-9_-]{1,40}$/.test(name) ? { field: [...parents, name].join(".") } : {}

function describe(schema: TSchema): string {
  const text = schema.description === undefined ? "" : `: ${schema.description}`
  if (schema.anyOf?.some((one: TSchema) => one.const === undefined))
    return schema.description ?? "a value of the form that /swagger shows"
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
      return `a list of ${schema.minItems ?? 0} to ${schema.maxItems} items, each ${describe(schema.items)}`
    case "boolean":
      return `true or false${text}`
    case "object":
      return `an object${schema.minProperties === 1 ? " with at least one member" : ""}${text}`
    default:
      return schema.description ?? "a value of the form that /swagger shows"
  }
}
