#!lua flags=allow-oom
--[[ pause: stop handing out tasks of a queue, or start again, which wakes the clients that wait for tasks.
  arguments  on: 1 pauses, 0 resumes; reason: why, for people ("" none)
  answers    since when it is paused; 0: it is not
  cost       O(10)
  invariant  a queue that is paused twice is paused since the first time, for the newest reason ]]
local on, reason = unpack(ARGV)

if on == "1" then
  redis.call("HSETNX", settings, "paused", now_text)
  redis.call("HSET", settings, "reason", reason)
  return tonumber(redis.call("HGET", settings, "paused"))
end

if redis.call("HDEL", settings, "paused", "reason") > 0 then wake_all() end
return 0
