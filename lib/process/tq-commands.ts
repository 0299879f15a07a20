/** All commands of `bun run tq`. A command of several words, such as `dead groups`, belongs to the first of them. */
import type { Command } from "./tq-call.ts"
import { DEAD_COMMANDS } from "./tq-dead-commands.ts"
import { QUEUE_COMMANDS } from "./tq-queue-commands.ts"
import { SCHEDULE_COMMANDS } from "./tq-schedule-commands.ts"
import { SYSTEM_COMMANDS } from "./tq-system-commands.ts"
import { TASK_COMMANDS } from "./tq-task-commands.ts"

export const COMMANDS: Readonly<Record<string, Command>> = {
  ...TASK_COMMANDS,
  ...DEAD_COMMANDS,
  ...QUEUE_COMMANDS,
  ...SCHEDULE_COMMANDS,
  ...SYSTEM_COMMANDS,
}
