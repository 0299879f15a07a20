#!lua flags=allow-oom
--[[ delete-dead: delete dead tasks before their retention is over.
  for each   id
  answers    "deleted" | "not_dead"
  cost       O(n log D), D = dead tasks
  invariant  never deletes a task in another state, even one that was dead a moment ago ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local t = open(id)
  local code = "not_dead"
  if t and t.state == "dead" then
    code = "deleted"
    leave(dead, id)
    delete_task(t)
  end
  answers[#answers + 1] = code
end
commit()
return answers
