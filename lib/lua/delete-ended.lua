#!lua flags=allow-oom
--[[ delete-ended: delete tasks that have ended before their retention is over.
  arguments  states: of the tasks that are deleted, separated by spaces: any of `done`, `dead` and `cancelled`; before: tasks that
             ended later than this time are kept ("" for any time); then for each: id
  answers    for each {code, attempt, now}: "deleted" | "kept" (in another state, or it ended later) | "unknown"
  cost       O(n log E), E = ended tasks
  invariant  never deletes a task in another state, even one that was in such a state a moment ago ]]
local states, before = unpack(ARGV)
local first, fields_each = 3, 1

local sets = {}
for state in string.gmatch(states, "%S+") do sets[state] = ({ done = done, dead = dead, cancelled = cancelled })[state] end
before = tonumber(before) or math.huge

local answers = {}
for i = first, #ARGV, fields_each do
  local id = ARGV[i]
  local t = open(id)
  local code = t and "kept" or "unknown"
  if t and sets[t.state] and tonumber(t.finished) <= before then
    code = "deleted"
    leave(sets[t.state], id)
    delete_task(t)
  end
  answers[#answers + 1] = { code, t and attempt_of(t.lease) or 0, now }
end
commit()
publish(0) -- a group may have waited for a deleted task
return answers
