#!lua flags=allow-oom
--[[ bulk-claim: take the next bulk operation whose step is due, for a limited time.
  keys       due, operation: see bulk-start.lua
  arguments  lease: ms until any broker may take it again
  answers    nil, or {id, fence, now, started (ms), about, selected, progress, page ("": none is in hand), state, stop ("":
             nobody asked), taken (1: the lease of another claim has lapsed)}
  cost       O(log K), K = kept operations
  invariant  the fence grows with each claim, so a broker whose lease has lapsed can no longer save ]]
local due, operation = unpack(KEYS)
local lease = ARGV[1]

local id = redis.call("ZRANGE", due, "-inf", now_text, "BYSCORE", "LIMIT", 0, 1)[1]
if not id then return nil end
redis.call("ZADD", due, int(now + lease), id)
local fence = redis.call("HINCRBY", operation .. id, "fence", 1)
local found = redis.call("HMGET", operation .. id, "started", "about", "selected", "progress", "page", "state", "stop", "held")
redis.call("HSET", operation .. id, "held", 1)
local answer = { id, fence, now, tonumber(found[1]) }
for i = 2, 7 do answer[#answer + 1] = found[i] or "" end
answer[#answer + 1] = found[8] and 1 or 0
return answer
