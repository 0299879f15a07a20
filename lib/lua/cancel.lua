#!lua flags=allow-oom
--[[ cancel: end waiting tasks, and mark leased ones. The worker of a marked task learns of it when it extends the lease; the
  task ends as cancelled when the worker settles it, whatever the outcome, or when its lease lapses.
  arguments  retention: ms that a cancelled task is kept; then for each: id
  answers    for each {code, state, attempt, time of the cancel}: "cancelled" | "cancelling" | "ended" (done or dead) |
             "unknown"
  cost       O(n log D), D = delayed tasks
  invariant  a cancelled task is never leased again ]]
local retention = ARGV[1]
local first, fields_each = 2, 1

local answers = {}
for i = first, #ARGV, fields_each do
  local id = ARGV[i]
  local t = open(id)
  local state, code, at = t and t.state or "", nil, now
  if not t then
    code = "unknown"
  elseif state == "cancelled" then
    code = "cancelled"
  elseif state == "processing" then
    code = "cancelling"
    if not extras(t).cancel then
      extras(t).cancel = now
      save(t)
    end
    at = extras(t).cancel
  elseif state == "done" or state == "dead" then
    code = "ended"
  else
    code = "cancelled"
    leave(due, id)
    leave(expiring, id)
    end_cancelled(t, retention)
  end
  answers[#answers + 1] = { code, state, t and attempt_of(t.lease) or 0, at }
end
commit()
return answers
