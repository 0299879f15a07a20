/** The script calls that many requests share: how their items are encoded, and what an abbreviated reply stands for. */
import type { Counters } from "../observe/counters.ts"
import type { Replies, Scripts } from "../redis/scripts.ts"
import { localOf } from "../task/id.ts"
import { encodeNewTask } from "../task/record.ts"
import type { Extension, NewTask, Settlement } from "../task/task.ts"
import { Batcher } from "./batcher.ts"
import type { QueueNames } from "./queue-names.ts"

interface SubmitItem {
  localId: string
  task: NewTask
}

type SubmitReply = Exclude<Replies["submit"], number>[number]
type SettleReply = Exclude<Replies["settle"], number>[number]
type ExtendReply = Replies["extend"][number]

/** `onSent` gets how many tasks of a queue a call that was just sent may make ready. */
export function batchSubmits(
  scripts: Scripts,
  names: QueueNames,
  { batchSizes }: Counters,
  idempotencyTtlMs: number,
  onSent: (queue: string, count: number) => void,
): Batcher<SubmitItem, SubmitReply> {
  return new Batcher(async (queue, items) => {
    if (!names.isRegistered(queue)) await names.register(queue)
    batchSizes.submit.observe(items.length)
    const call = scripts.call(
      "submit",
      queue,
      { ttl: idempotencyTtlMs },
      items.map(({ localId, task }) => {
        const { body, large, options } = encodeNewTask(task)
        return { id: localId, body, large, options }
      }),
    )
    onSent(queue, items.filter(({ task }) => task.when === undefined).length)
    const replies = await call
    // The queue may have been forgotten after the check above and before this call created its first task.
    if (!names.isRegistered(queue)) await names.register(queue)
    return typeof replies === "number" ? items.map(({ localId }) => ["queued", localId, replies]) : replies
  })
}

export function batchSettles(
  scripts: Scripts,
  { batchSizes }: Counters,
  doneRetentionMs: number,
): Batcher<Settlement, SettleReply> {
  return new Batcher(async (queue, items) => {
    batchSizes.settle.observe(items.length)
    const replies = await scripts.call(
      "settle",
      queue,
      { retention: doneRetentionMs },
      items.map(({ id, lease = "", outcome, text = "", retry = "", holdGroupMs }) => ({
        id: localOf(id),
        lease,
        outcome,
        retry: holdGroupMs ? `${retry}=${holdGroupMs}` : retry,
        text,
      })),
    )
    return typeof replies === "number" ? items.map(() => ["acknowledged", 0, 0, "done", replies]) : replies
  })
}

export function batchExtends(scripts: Scripts, { batchSizes }: Counters): Batcher<Extension, ExtendReply> {
  return new Batcher((queue, items) => {
    batchSizes.extend.observe(items.length)
    return scripts.call(
      "extend",
      queue,
      {},
      items.map(({ id, lease, timeoutMs = "", progress = "", checkpoint = "", log = [] }) => ({
        id: localOf(id),
        lease,
        timeout: timeoutMs,
        progress,
        checkpoint,
        log: log.map(line => line.replaceAll("\n", " ")).join("\n"),
      })),
    )
  })
}
