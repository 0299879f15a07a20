#!lua flags=no-writes
--[[ task-types: read the types of tasks.
  for each   queue; id
  answers    for each the type as JSON text; "" if there is no such task
  cost       O(n) ]]
local first, fields_each = 1, 2

local answers, current = {}, nil
for i = first, #ARGV, fields_each do
  local queue, id = unpack(ARGV, i, i + fields_each - 1)
  if queue ~= current then use_queue(queue) end
  current = queue
  local text = redis.call("GET", task .. id)
  local t = text and parse(id, text)
  answers[#answers + 1] = t and match(type_and_payload(t), "^[^\n]*") or ""
end
return answers
