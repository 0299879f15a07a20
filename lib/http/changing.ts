/** Changing: PATCH /tasks/:id, POST /tasks/:id/again and DELETE /tasks/:id. */
import { Refused } from "../errors.ts"
import { headerRecord } from "../redis/keys.ts"
import { taskLike, whenOf } from "../task/new-task.ts"
import { Again, TaskChange } from "../wire/changing.ts"
import { memberTexts } from "../wire/json-text.ts"
import { ENDED_STATES } from "../wire/states.ts"
import { recordAction } from "./actions.ts"
import { answer, answerJson } from "./answer.ts"
import { forTask } from "./call.ts"
import {
  faultsOfStart,
  fingerprint,
  isReplayed,
  REPLAYED,
  readHeaders,
  submit,
  writeSubmitted,
} from "./submitting.ts"
import { checker, invalid } from "./validate.ts"

export const changeTask = forTask(async (call, parts, id) => {
  using body = await parts.readBody(call.request)
  const { payload: _, priority, meta, ...start } = checkChange(body.value)
  const changed = Object.keys(body.value as object)
  const faults = changed.length > 0 ? faultsOfStart(start) : [NOTHING_TO_CHANGE]
  if (faults.length > 0) throw invalid(faults)
  const payload = memberTexts(body.text, "payload")[0]
  await parts.queue.change(id, { payload, priority, meta, when: whenOf(start) })
  await recordAction(call, parts, "changeTask", { task_id: id }, { changed })
  return answerJson({ status: "changed", task_id: id })
})

export const submitAgain = forTask(async (call, parts, id) => {
  const { headers } = call.request
  using body = await parts.readOptional(call.request)
  const again = checkAgain(body.value)
  const faults = faultsOfStart(again)
  if (faults.length > 0) throw invalid(faults)
  const { key, traceparent, tracestate } = readHeaders(headers)
  const original = await parts.queue.find(id, "all")
  if (!ENDED_STATES.includes(original.state))
    throw new Refused("not_ended", { task_id: id, state: original.state })
  const given = memberTexts(body.text, "payload")[0]
  const task = taskLike(original, { payload: given, when: whenOf(again), traceparent, tracestate })
  if (key !== undefined)
    task.idempotency = {
      key: headerRecord(key),
      print: fingerprint({ ...again, payload: given, again_of: id }),
    }
  const [submitted] = await submit(parts, headers, [task])
  if (submitted instanceof Refused) throw submitted
  await recordAction(call, parts, "submitAgain", { task_id: submitted!.id }, { again_of: id })
  const text = `${writeSubmitted(submitted!).slice(0, -1)},"again_of":"${id}"}`
  return answer(text, isReplayed(submitted!) ? REPLAYED : undefined)
})

export const deleteTask = forTask(async (call, parts, id) => {
  await parts.queue.delete(id)
  await recordAction(call, parts, "deleteTask", { task_id: id })
  return answerJson({ status: "deleted", task_id: id })
})

const checkChange = checker(TaskChange)
const checkAgain = checker(Again)
const NOTHING_TO_CHANGE = {
  detail: `The body must have at least one of ${Object.keys(TaskChange.properties).join(", ")}.`,
}
