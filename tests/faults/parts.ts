/** The settings of each process of a run, and the messages between the run and its clients. */
import type { Pace } from "./workload.ts"

export const TOKEN = "a-token-for-faults"

/** The clock of every second broker is this fast. Clients delete what has been dead for nearly as long: nothing. */
export const CLOCK_OFF_MS = 3_600_000
export const NOTHING_THIS_OLD_MS = 3_500_000

interface Part {
  seed: number
  /** Its history file. */
  history: string
  /** The addresses of the links to the brokers. */
  urls: string[]
}

export interface ClientPart extends Part {
  index: number
  tasks: number
  pace: Pace
  resultTtlMs: number
  /** Submits in flight at a time. */
  lanes: number
}

export interface WorkerPart extends Part {
  name: string
  /**
   * "work" is the product's worker, which uses POST /work. "lease" is a worker that a user might write with /lease and
   * /ack. "plain" knows only GET /get and acks without a lease.
   */
  kind: "work" | "lease" | "plain"
  queues: string[]
  concurrency: number
  /** The histories of its predecessors, which died with unanswered acks. */
  inherits: string[]
}

/** From the run to a client: the number of tasks that it may submit in all so far. */
export interface Allowance {
  allowed: number
}

/** From a client: the number of tasks that it has handled. */
export interface Progress {
  made: number
  finished: boolean
}

/** The settings are passed in the environment. */
export const PART = "FAULTS_PART"
export const partOf = <T extends Part>(): T => JSON.parse(process.env[PART]!) as T
