#!lua flags=allow-oom
--[[ sweep: take back lapsed leases, end what has expired, promote what is due, and delete finished tasks that
  are past their retention or too many.
  arguments  limit: how many it moves, and how many of each it deletes, at most; retention, dead_retention: ms that a
             cancelled and a dead task is kept; keep, keep_dead: how many done or cancelled, and how many dead ones are
             kept; polled: 1 where workers wait at this broker
  answers    {moved, waiting, next_event, lapsed, died_count, timeouts}     moved: 1 where there may be more; waiting: 1 where
             something is ready; lapsed, died_count: how many leases have lapsed, and how many tasks are now dead;
             timeouts: which, where there are any, one line per timeout, `event reason attempt worker id`
  cost       O(limit log N)
  invariant  safe to run on every broker at once: what one has moved, the next does not find ]]
local limit, retention, dead_retention, keep, keep_dead, polled = unpack(ARGV)
limit = tonumber(limit)

-- The entry with the lowest score is the one that goes first.
local function trim(set, score, most)
  local ids = redis.call("ZRANGE", set, "-inf", score, "BYSCORE", "LIMIT", 0, limit)
  local excess = redis.call("ZCARD", set) - most
  if #ids < limit and excess > #ids then ids = redis.call("ZRANGE", set, 0, math.min(excess, limit) - 1) end
  local keys = {}
  for _, id in ipairs(ids) do
    leave(set, id)
    keys[#keys + 1] = task .. id
    keys[#keys + 1] = payload .. id
  end
  in_chunks("UNLINK", keys)
  return #ids
end

local moved = run_timers(limit, retention)
local trimmed = math.max(
  trim(done, now, tonumber(keep)),
  trim(cancelled, now, tonumber(keep)),
  trim(dead, now - dead_retention, tonumber(keep_dead))
)
commit()
publish(0)
if polled == "1" then redis.call("HSET", stats, "polled", now) end

local waiting = 0
for priority = 0, 9 do
  if redis.call("EXISTS", ready .. priority) == 1 then waiting = 1 end
end
return { math.max(moved, trimmed) >= limit and 1 or 0, waiting, next_event(), lapsed, died_count, timeouts[1] and timeouts or nil }
