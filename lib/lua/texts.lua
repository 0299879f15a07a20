#!lua flags=no-writes
--[[ texts: read the texts of tasks, or payloads that have their own keys.
  arguments  what: "task" or "payload"; bytes: how many bytes to read, exceeded by one text at most; then for each: queue; id
  answers    for as many as fit, at least one: the text | "" (the task was deleted) | false (only its payload is lost)
  cost       O(n) ]]
local what, bytes = unpack(ARGV)
local first, fields_each = 3, 2

local answers, current = {}, nil
bytes = tonumber(bytes)
for i = first, #ARGV, fields_each do
  local queue, id = unpack(ARGV, i, i + fields_each - 1)
  if bytes <= 0 and #answers > 0 then break end
  if queue ~= current then use_queue(queue) end
  current = queue
  local found = redis.call("GET", (what == "task" and task or payload) .. id)
  bytes = bytes - (found and #found or 0)
  if not found and (what == "task" or redis.call("EXISTS", task .. id) == 0) then found = "" end
  answers[#answers + 1] = found
end
return answers
