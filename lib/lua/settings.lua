#!lua flags=allow-oom
--[[ settings: set how many tasks of a queue run at a time and how fast they are leased. Wakes waiting clients.
  arguments  concurrency: leases at a time; per_second: tasks per second; burst: tasks that may be leased at once after an
             idle period; each "" for no limit
  answers    "set"
  cost       O(10)
  invariant  live leases are not affected; a changed rate starts with a full burst ]]
local concurrency, per_second, burst = unpack(ARGV)

local before = redis.call("HMGET", settings, "per_second", "burst")
if before[1] ~= per_second or before[2] ~= burst then redis.call("HDEL", stats, "tokens", "filled") end
redis.call("HSET", settings, "concurrency", concurrency, "per_second", per_second, "burst", burst)
if concurrency == "" then redis.call("HDEL", settings, "concurrency") end
if per_second == "" then redis.call("HDEL", settings, "per_second", "burst") end
wake_all()
return "set"
