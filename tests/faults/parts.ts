/** What the processes of a run are told when they start, and say to the one that started them. */
import type { Pace } from "./workload.ts"

export const TOKEN = "a-token-for-faults"

export interface Part {
  seed: number
  /** Its history file. */
  history: string
  /** The brokers, each by the address of the link that leads there. */
  urls: string[]
}

export interface ClientPart extends Part {
  index: number
  tasks: number
  pace: Pace
  resultTtlMs: number
  /** How many submits are under way at a time. */
  lanes: number
}

export interface WorkerPart extends Part {
  name: string
  /**
   * lib's own worker, which speaks POST /work; one as a stranger would write it with /lease and /ack; or one that
   * knows only GET /get, and acks without naming its lease.
   */
  kind: "work" | "lease" | "plain"
  queues: string[]
  concurrency: number
  /** The files of those that had its place before, and died with acks that nobody answered. */
  inherits: string[]
}

/** From the run to a client: how many tasks it may have submitted by now. */
export interface Allowance {
  allowed: number
}

/** From a client: how many tasks it has dealt with. */
export interface Progress {
  made: number
  finished: boolean
}

/** A part travels in the environment. */
export const PART = "FAULTS_PART"
export const partOf = <T extends Part>(): T => JSON.parse(process.env[PART]!) as T
