#!lua flags=allow-oom
--[[ bulk-stop: ask the broker that works on a bulk operation to stop it.
  keys       due, operation: see bulk-start.lua
  arguments  id; stop: who asks, as JSON
  answers    "stopping" | "ended" (it has ended already) | "unknown"
  cost       O(1)
  invariant  the first request to stop is kept; safe to repeat ]]
local due, operation = unpack(KEYS)
local id, stop = unpack(ARGV)

local found = redis.call("HMGET", operation .. id, "started", "ended", "held")
if not found[1] then return "unknown" end
if found[2] then return "ended" end
redis.call("HSETNX", operation .. id, "stop", stop)
-- It waits, and no broker holds it: the next look ends it.
if not found[3] then redis.call("ZADD", due, now_text, id) end
return "stopping"
