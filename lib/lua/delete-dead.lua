#!lua flags=allow-oom
--[[ delete-dead: delete dead tasks before their retention is over.
  for each   id
  answers    for each {code, attempt, now}: "deleted" | "not_dead"
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
  answers[#answers + 1] = { code, t and attempt_of(t.lease) or 0, now }
end
commit()
publish(0) -- a group may have waited for a deleted task
return answers
