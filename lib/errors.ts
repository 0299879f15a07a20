/** Refusals: errors with a `code` out of a closed set. lib/http/answer.ts turns them into answers. */
import type { State } from "./wire/fields.ts"
import type { Code, Fault } from "./wire/problem.ts"

/** What a problem may carry beside its code. */
export interface Facts {
  detail?: string
  field?: string
  /** Every fault of a bad request; `field` and `detail` are those of the first. */
  errors?: Fault[]
  task_id?: string
  state?: State
  attempt?: number
  request_id?: string
}

export class Refused extends Error {
  constructor(
    readonly reason: Code,
    readonly facts: Facts = {},
    /** The request may have taken effect although it failed. */
    readonly isUncertain = false,
  ) {
    super(facts.detail ?? reason)
    this.name = "Refused"
  }
}

/** Too few replicas confirmed a change: it was not made, or it was made, with this reply, and may be lost. */
export class NotReplicated extends Refused {
  constructor(
    replicas: number,
    readonly reply?: unknown,
  ) {
    const detail = `Fewer than WAIT_REPLICAS=${replicas} replicas have confirmed this.`
    super("not_replicated", { detail }, true)
  }
}

/** The result of one item of a batch, or its refusal. */
export type Each<T> = T | Refused
