#!lua flags=allow-oom
--[[ bulk-outcomes: count retried tasks of a bulk operation that have ended.
  keys       operation, open: see bulk-start.lua
  arguments  id; then for each: task; outcome: "succeeded" | "died_again" | "other"
  answers    how many retried tasks are left whose outcome is not known
  cost       O(n)
  invariant  each task is counted once, whichever brokers report it and however often ]]
local operation, open = unpack(KEYS)
local id = ARGV[1]
local first, fields_each = 2, 2

for i = first, #ARGV, fields_each do
  local task, outcome = ARGV[i], ARGV[i + 1]
  if redis.call("SREM", open .. id, task) == 1 then redis.call("HINCRBY", operation .. id, outcome, 1) end
end
return redis.call("SCARD", open .. id)
