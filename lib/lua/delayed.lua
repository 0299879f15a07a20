#!lua flags=no-writes
--[[ delayed: how many delayed tasks of a queue are scheduled, and how many wait for a retry.
  arguments  limit: how many tasks may be counted
  answers    {scheduled, retrying} | {} if there are more delayed tasks
  cost       O(limit): 1 ms for 1,000 tasks ]]
local limit = unpack(ARGV)

if redis.call("ZCARD", due) > tonumber(limit) then return {} end
local counts = { scheduled = 0, retrying = 0 }
for _, id in ipairs(redis.call("ZRANGE", due, 0, limit - 1)) do
  local state = state_of(id)
  if counts[state] then counts[state] = counts[state] + 1 end
end
return { counts.scheduled, counts.retrying }
