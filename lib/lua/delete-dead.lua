#!lua flags=allow-oom
--[[ delete-dead: delete dead tasks before their retention is over.
  for each   id
  answers    "deleted" | "not_dead"
  cost       O(n log D), D = dead tasks
  invariant  a task that is not dead, also one that was retried a moment ago, is left alone ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local t = open(id)
  local word = "not_dead"
  if t and t.state == "dead" then
    word = "deleted"
    leave(dead, id)
    forget(t)
  end
  answers[#answers + 1] = word
end
commit()
return answers
