#!lua flags=allow-oom
--[[ settings: how many tasks of a queue run at a time, and how fast they are handed out. Wakes waiting clients.
  arguments  concurrency: leases at a time; per_second: tasks a second; burst: how many at once after a rest; each ""
             where there is no limit
  answers    "set"
  cost       O(10)
  invariant  what was handed out stays so; a rate that is another than before begins with a full burst ]]
local concurrency, per_second, burst = unpack(ARGV)

local before = redis.call("HMGET", settings, "per_second", "burst")
if before[1] ~= per_second or before[2] ~= burst then redis.call("HDEL", stats, "tokens", "filled") end
redis.call("HSET", settings, "concurrency", concurrency, "per_second", per_second, "burst", burst)
if concurrency == "" then redis.call("HDEL", settings, "concurrency") end
if per_second == "" then redis.call("HDEL", settings, "per_second", "burst") end
wake_all()
return "set"
