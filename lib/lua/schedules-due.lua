#!lua flags=no-writes
--[[ schedules-due: the schedules of a queue whose time has come, the longest due first.
  arguments  limit
  answers    {now, names, texts}   a text is nil if the schedule does not exist
  cost       O(log N + limit)
  invariant  a schedule that has run since the last call does not come again until its next time ]]
local limit = unpack(ARGV)

local names = redis.call("ZRANGE", planned, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
return { now, names, names[1] and redis.call("HMGET", schedules, unpack(names)) or {} }
