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
  local t = open(id)
  local state, word = t and t.state or "", nil
  if not t then
    word = "unknown"
  elseif state == "cancelled" then
    word = "cancelled"
  elseif state == "processing" then
    word = "cancelling"
    if not rare(t).cancel then
      rare(t).cancel = now
      save(t)
    end
  elseif state == "done" or state == "dead" then
    word = "ended"
  else
    word = "cancelled"
    leave(due, id)
    leave(expiring, id)
    end_cancelled(t, retention)
  end
  answers[#answers + 1] = { word, state }
end
commit()
return answers
