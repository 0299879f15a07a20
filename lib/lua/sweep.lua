#!lua flags=allow-oom
--[[ sweep: take back lapsed leases, promote what is due, and delete what is past its retention.
  arguments  limit: how many of each at most; dead_retention: ms that a dead task is kept
  answers    {moved, waiting, next_event}     moved: how many it looked at; waiting: 1 where something is ready
  cost       O(limit log N)
  invariant  safe to run on every broker at once: what one has moved, the next does not find ]]
local limit, dead_retention = unpack(ARGV)

local function delete_until(set, score)
  local ids = redis.call("ZRANGE", set, "-inf", score, "BYSCORE", "LIMIT", 0, limit)
  local keys = {}
  for _, id in ipairs(ids) do
    leave(set, id)
    keys[#keys + 1] = task .. id
    keys[#keys + 1] = payload .. id
  end
  for i = 1, #keys, CHUNK do redis.call("UNLINK", unpack(keys, i, math.min(i + CHUNK - 1, #keys))) end
  return #ids
end

local moved = reap_lapsed(limit) + promote_due(limit) + delete_until(done, now) + delete_until(dead, now - dead_retention)
commit()
publish(0)

local waiting = 0
for priority = 0, 9 do
  if redis.call("EXISTS", ready .. priority) == 1 then waiting = 1 end
end
return { moved, waiting, next_event() }
