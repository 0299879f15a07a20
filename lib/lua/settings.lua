#!lua flags=allow-oom
--[[ settings: set how many tasks of a queue run at a time and how fast they are leased, the limits of its groups, and when it
  needs attention. Wakes waiting clients.
  arguments  concurrency: leases at a time; per_second: tasks per second; burst: tasks that may be leased at once after an
             idle period; rates: instead of these two, a list as JSON (see buckets.lua); group_limits: the limits of every group
             as JSON; attention: thresholds as JSON; each "" for none
  answers    "set"
  cost       O(10)
  invariant  live leases are not affected; a changed rate starts with a full burst; held groups that may go on now are
             returned to the line by the script recheck-groups ]]
local concurrency, per_second, burst, rates, group_limits, attention = unpack(ARGV)

local before = redis.call("HMGET", settings, "per_second", "burst", "rates")
if (before[1] or "") ~= per_second or (before[2] or "") ~= burst or (before[3] or "") ~= rates then
  redis.call("HDEL", stats, "tokens", "filled")
end
local function set(field, value)
  if value == "" then
    redis.call("HDEL", settings, field)
  else
    redis.call("HSET", settings, field, value)
  end
end
set("concurrency", concurrency)
set("per_second", per_second)
set("burst", burst)
set("rates", rates)
set("groups", group_limits)
set("attention", attention)
wake_all()
return "set"
