#!lua flags=allow-oom
--[[ watch: publish the end of tasks on the `ended` channel. The mark stays until the task is deleted or retried.
  for each   id
  answers    "watched" | "ended" (already) | "unknown"
  cost       O(n)
  invariant  nothing is published for a task that was never watched ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local t = open(id)
  local code = "watched"
  if not t then
    code = "unknown"
  elseif t.finished ~= "0" then
    code = "ended"
  elseif not extras(t).watched then
    extras(t).watched = "1"
    save(t)
  end
  answers[#answers + 1] = code
end
commit()
return answers
