#!lua flags=allow-oom
--[[ discard: delete dead tasks before their retention is over.
  for each   id
  answers    "discarded" | "not_dead"
  cost       O(n log D), D = dead tasks
  invariant  a task that is not dead, also one that was retried a moment ago, is left alone ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local t = open(id)
  local word = "not_dead"
  if t and t.state == "dead" then
    word = "discarded"
    leave(dead, id)
    forget(t)
  end
  answers[#answers + 1] = word
end
commit()
return answers
