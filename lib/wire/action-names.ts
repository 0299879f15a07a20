/** Which operations the trail records. Without TypeBox, so that the dashboard can import this file. */

/** The operations that are recorded: those that need the role `operate` and change something. */
export const ACTIONS = [
  "cancelTask",
  "cancelTasks",
  "changeTask",
  "submitAgain",
  "deleteTask",
  "setSchedule",
  "deleteSchedule",
  "pauseSchedule",
  "resumeSchedule",
  "runSchedule",
  "retryDeadTask",
  "retryDeadTasks",
  "purgeDeadTasks",
  "deleteDeadTask",
  "startBulk",
  "stopBulk",
  "pauseQueue",
  "resumeQueue",
  "setQueueSettings",
  "purgeQueue",
  "setGroupLimits",
  "removeGroupLimits",
  "pauseGroup",
  "resumeGroup",
  "addMark",
  "drainWorker",
  "undrainWorker",
  "audit",
] as const

export type Action = (typeof ACTIONS)[number]
