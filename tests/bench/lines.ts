/** The lines of throughput: what each contender gave, and how one compares with another. */
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

/** With the rates of its two halves. */
export function lifeLine(slices: Slices<Slice>, named: Named): Line {
  const rate = (of: "submitPerSecond" | "workPerSecond") =>
    `${(median(slices.get(named.name)!.map(slice => slice[of])) / 1_000).toFixed(1)} k/s`
  return { ...line(slices, named), note: `submit ${rate("submitPerSecond")}, work ${rate("workPerSecond")}` }
}

/** A line that also says how many times `under` is in `over`, which must reach `atLeast`. */
export function compared(told: Line, over: Line, under: Line, atLeast?: number): Line {
  return {
    ...told,
    ratio: {
      of: `${over.contender} ÷ ${under.contender}`,
      values: over.values.map((value, round) => value / under.values[round]!),
    },
    ...(atLeast !== undefined && { target: { atLeast } }),
  }
}

/** The line of a peer, and how many times as much ours does. */
export const against = (peer: Line, ours: Line, atLeast?: number) => compared(peer, ours, peer, atLeast)

/** Our line, and how much of a ceiling it reaches. */
export const under = (ceiling: Line, ours: Line, atLeast?: number) => compared(ours, ours, ceiling, atLeast)
