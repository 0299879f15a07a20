#!lua flags=no-writes
--[[ inspect: read tasks.
  for each   id
  answers    {id, text, payload if it has its own key, lease deadline, due time} | false if there is no such task
  cost       O(n) ]]
local answers = {}
for _, id in ipairs(ARGV) do answers[#answers + 1] = read_raw(id, true) end
return answers
