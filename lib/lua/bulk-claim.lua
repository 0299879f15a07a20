#!lua flags=allow-oom
--[[ bulk-claim: take the next bulk operation whose step is due, for a limited time.
  keys       due, operation: see bulk-start.lua
  arguments  lease: ms until any broker may take it again
  answers    nil, or {id, fence, now, started (ms), about, progress, state, stop ("": nobody asked), taken (1: the lease
             of another claim has lapsed)}
  cost       O(log K), K = kept operations
  invariant  the fence grows with each claim, so a broker whose lease has lapsed can no longer save ]]
local due, operation = unpack(KEYS)
local lease = ARGV[1]

local id = redis.call("ZRANGE", due, "-inf", now_text, "BYSCORE", "LIMIT", 0, 1)[1]
if not id then return nil end
redis.call("ZADD", due, int(now + lease), id)
local fence = redis.call("HINCRBY", operation .. id, "fence", 1)
local found = redis.call("HMGET", operation .. id, "started", "about", "progress", "state", "stop", "held")
redis.call("HSET", operation .. id, "held", 1)
return { id, fence, now, tonumber(found[1]), found[2], found[3], found[4], found[5] or "", found[6] and 1 or 0 }
