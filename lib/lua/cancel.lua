#!lua flags=allow-oom
--[[ cancel: end waiting tasks, and mark leased ones. The worker of a marked task learns of it when it extends the lease; the
  task ends as cancelled when the worker settles it, whatever the outcome, or when its lease lapses.
  arguments  retention: ms that a cancelled task is kept; then for each: id
  answers    for each {code, state, attempt, time of the cancel}: "cancelled" | "cancelling" | "ended" (done or dead) |
             "unknown"
  cost       O(n log D), D = delayed tasks; plus O(300) for stale ids
  invariant  a cancelled task is never leased again ]]
local retention = ARGV[1]
local first, fields_each = 2, 1

local answers = {}
for i = first, #ARGV, fields_each do
  local id = ARGV[i]
  answers[#answers + 1] = cancel_task(id, retention)
end
commit()
drop_stale()
publish(0) -- the slot of a cancelled task may be free now
return answers
