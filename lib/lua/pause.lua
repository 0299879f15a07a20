#!lua flags=allow-oom
--[[ pause: stop leasing the tasks of a queue, or resume it, which wakes waiting clients.
  arguments  on: 1 pauses, 0 resumes; reason: shown to people ("" none)
  answers    ms since which the queue is paused; 0: it is not
  cost       O(10)
  invariant  pausing a paused queue keeps the time and replaces the reason ]]
local on, reason = unpack(ARGV)

if on == "1" then
  redis.call("HSETNX", settings, "paused", now_text)
  redis.call("HSET", settings, "reason", reason)
  return tonumber(redis.call("HGET", settings, "paused"))
end

if redis.call("HDEL", settings, "paused", "reason") > 0 then wake_all() end
return 0
