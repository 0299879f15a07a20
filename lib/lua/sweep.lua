#!lua flags=allow-oom
--[[ sweep: end lapsed leases and expired tasks, make tasks ready whose delay is over, delete ended tasks that are past
  their retention or too many, and drop stale ids at the heads of ready lists.
  arguments  limit: how many tasks it moves, and how many of each state it deletes; retention, dead_retention: ms that a
             done or cancelled task and a dead one is kept; keep, keep_dead: how many tasks of `completed`, `done` and `cancelled`
             (each) and how many dead ones are kept; polled: 1 if workers wait at this broker
  answers    {more (1: there may be more to do), waiting (1: a task is ready; maybe 0 if more is 1), next_event (see next_event),
             next_run (ms until a schedule is due; -1: none), timeouts}
             timeouts: as lease answers them
  cost       O(limit log N), plus O(300) for stale ids
  invariant  safe to run on all brokers at once: a task that one has moved is not found by the next ]]
local limit, retention, dead_retention, keep, keep_dead, polled = unpack(ARGV)
limit = tonumber(limit)

local was_set_back = note_poll(polled == "1" and 0 or math.huge)
local moved = run_timers(limit, retention, was_set_back)
local trimmed = math.max(
  trim_completed(now - retention, tonumber(keep), limit),
  trim(done, now, tonumber(keep), limit),
  trim(cancelled, now, tonumber(keep), limit),
  trim(dead, now - dead_retention, tonumber(keep_dead), limit)
)
commit()
local dropped, waiting = drop_stale()
publish(0)

local first_run = tonumber(redis.call("ZRANGE", planned, 0, 0, "WITHSCORES")[2] or math.huge)
local next_run = first_run == math.huge and -1 or math.max(0, first_run - now)
local more = (math.max(moved, trimmed) >= limit or dropped == MAX_DROPPED) and 1 or 0
return { more, waiting, next_event(), next_run, timeouts }
