/** Lines about throughput: the result of each contender, and ratios between contenders. */
import type { Cpu, Slice } from "./contender.ts"
import type { Line } from "./row.ts"
import { median } from "./statistics.ts"

export type Slices<S extends Measured = Measured> = Map<string, S[]>
type Measured = { perSecond: number; cpu: Cpu }
type Named = { readonly name: string }

export function line(slices: Slices, { name }: Named, unit = "tasks/s"): Line {
  const of = slices.get(name)!
  return {
    contender: name,
    unit,
    values: of.map(({ perSecond }) => perSecond),
    cpu: of.map(({ cpu }) => cpu),
  }
}

/** Notes the rates of submitting and working, too. */
export function lifeLine(slices: Slices<Slice>, named: Named): Line {
  const rate = (of: "submitPerSecond" | "workPerSecond") =>
    `${(median(slices.get(named.name)!.map(slice => slice[of])) / 1_000).toFixed(1)} k/s`
  return { ...line(slices, named), note: `submit ${rate("submitPerSecond")}, work ${rate("workPerSecond")}` }
}

/** A line with the ratio `over` ÷ `under`, which must be at least `atLeast`. */
export function compared(base: Line, over: Line, under: Line, atLeast?: number): Line {
  return {
    ...base,
    ratio: {
      of: `${over.contender} ÷ ${under.contender}`,
      values: over.values.map((value, round) => value / under.values[round]!),
    },
    ...(atLeast !== undefined && { target: { atLeast } }),
  }
}

/** The line of another queue, with the ratio of our queue to it. */
export const against = (peer: Line, ours: Line, atLeast?: number) => compared(peer, ours, peer, atLeast)

/** Our line, with its ratio to an upper bound. */
export const under = (ceiling: Line, ours: Line, atLeast?: number) => compared(ours, ours, ceiling, atLeast)
