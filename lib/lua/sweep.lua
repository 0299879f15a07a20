#!lua flags=allow-oom
--[[ sweep: end lapsed leases and expired tasks, make tasks ready whose delay is over, and delete ended tasks that are past
  their retention or too many.
  arguments  limit: how many tasks it moves, and how many of each state it deletes; retention, dead_retention: ms that a
             cancelled and a dead task is kept; keep, keep_dead: how many done or cancelled tasks (each) and how many dead
             ones are kept; polled: 1 if workers wait at this broker
  answers    {more (1: there may be more to do), waiting (1: a ready list is not empty), next_event (see next_event),
             next_run (ms until a schedule is due; -1: none), lapsed, died_count, timeouts}
             lapsed, died_count: how many leases lapsed and how many tasks died; timeouts: one line per timeout,
             `event reason attempt worker id time`; absent if there was none
  cost       O(limit log N)
  invariant  safe to run on all brokers at once: a task that one has moved is not found by the next ]]
local limit, retention, dead_retention, keep, keep_dead, polled = unpack(ARGV)
limit = tonumber(limit)

-- Deletes tasks up to this score, or else those above `most`, the lowest score first.
local function trim(set, score, most)
  local ids = redis.call("ZRANGE", set, "-inf", score, "BYSCORE", "LIMIT", 0, limit)
  local excess = redis.call("ZCARD", set) - most
  if #ids < limit and excess > #ids then ids = redis.call("ZRANGE", set, 0, math.min(excess, limit) - 1) end
  local keys = {}
  -- A dead task may hold the slot of its group, see groups.lua.
  local frees_slots = set == dead and #ids > 0 and open_groups().are_limited()
  if frees_slots then load(ids) end
  for _, id in ipairs(ids) do
    leave(set, id)
    local t = frees_slots and open(id)
    local group = t and read_policy(t.policy).group
    if group then groups.leave(group, id) end
    keys[#keys + 1] = task .. id
    keys[#keys + 1] = payload .. id
  end
  in_chunks("UNLINK", keys)
  return #ids
end

local was_set_back = note_poll(polled == "1" and 0 or math.huge)
local moved = run_timers(limit, retention, was_set_back)
local trimmed = math.max(
  trim(done, now, tonumber(keep)),
  trim(cancelled, now, tonumber(keep)),
  trim(dead, now - dead_retention, tonumber(keep_dead))
)
commit()
publish(0)

local waiting = 0
for priority = 0, 9 do
  if redis.call("EXISTS", ready .. priority) == 1 then waiting = 1 end
end

local first_run = tonumber(redis.call("ZRANGE", planned, 0, 0, "WITHSCORES")[2] or math.huge)
local next_run = first_run == math.huge and -1 or math.max(0, first_run - now)
return { math.max(moved, trimmed) >= limit and 1 or 0, waiting, next_event(), next_run, lapsed, died_count, timeouts[1] and timeouts or nil }
