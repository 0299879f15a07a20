/** What the package for Node exports (`bun run pack`). */
export {
  BrokerProblem,
  BrokerUnreachable,
  type CallOptions,
  Client,
  type ClientOptions,
  type DlqFilter,
  type Each,
  type EventsFilter,
  type Fetch,
  type PageQuery,
  type StreamEvent,
  type SubmitOptions,
  type TasksFilter,
  type Worked,
} from "../client.ts"
export { Fatal, type Handler, type HandlerContext, type Handlers, RetryIn } from "../handlers.ts"
export { createLog, type Fields, type Log, type LogLevel } from "../log.ts"
export type { HealthAddress } from "./health.ts"
export { LeaseLost, TaskCancelled } from "./held-lease.ts"
export { WorkerStopping } from "./task-runner.ts"
export { Worker, type WorkerOptions } from "./task-worker.ts"
