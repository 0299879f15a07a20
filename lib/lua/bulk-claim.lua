#!lua flags=allow-oom
--[[ bulk-claim: take the next bulk operation whose step is due, for a limited time.
  keys       due, operation: see bulk-start.lua
  arguments  claim: ms that it lasts; then any broker may take the operation again
  answers    nil, or {id, fence, now, started (ms), about, selected, progress, page ("": none is in hand), state, stop ("":
             nobody asked), taken (1: another claim is over and was not ended)}
  cost       O(log K), K = kept operations
  invariant  the fence grows with each claim, so a broker whose claim was taken over can no longer save ]]
local due, operation = unpack(KEYS)
local claim = ARGV[1]

local id = redis.call("ZRANGE", due, "-inf", now_text, "BYSCORE", "LIMIT", 0, 1)[1]
if not id then return nil end
redis.call("ZADD", due, int(now + claim), id)
local fence = redis.call("HINCRBY", operation .. id, "fence", 1)
local found = redis.call("HMGET", operation .. id, "started", "about", "selected", "progress", "page", "state", "stop", "held")
redis.call("HSET", operation .. id, "held", 1)
local answer = { id, fence, now, tonumber(found[1]) }
for i = 2, 7 do answer[#answer + 1] = found[i] or "" end
answer[#answer + 1] = found[8] and 1 or 0
return answer
