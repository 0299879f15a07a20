#!lua flags=allow-oom
--[[ cancel: end tasks that nobody works on, and mark those that somebody does: their worker hears of it when it
  extends, and whatever it then says, or does not say until its lease lapses, the task ends as cancelled.
  arguments  retention: ms that a cancelled task is kept; then for each: id
  answers    for each {word, state}: "cancelled" | "cancelling" | "ended" (done or dead) | "unknown"
  cost       O(n log D), D = delayed tasks
  invariant  a cancelled task is never handed out again ]]
local retention = ARGV[1]

local answers = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local fields = read(id, ENDING)
  local word
  if not fields.state then
    word = "unknown"
  elseif fields.state == "cancelled" then
    word = "cancelled"
  elseif fields.state == "processing" then
    word = "cancelling"
    if not fields.cancel then redis.call("HSET", task .. id, "cancel", now) end
  elseif fields.state == "done" or fields.state == "dead" then
    word = "ended"
  else
    word = "cancelled"
    leave(due, id)
    leave(expiring, id)
    end_cancelled(id, fields, retention)
  end
  answers[#answers + 1] = { word, fields.state or "" }
end
commit()
return answers
