--[[ schedule: the text of a schedule. ]]
-- The first line of a schedule, which lib/task/schedule.ts writes: version, planned, fired, missed, skipped, last, paused.
-- planned: the time of its next run; last: that of its newest task; "0": none. `()` captures where the second line begins.
local SCHEDULE = "^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)\n()"

-- The id of the task that a schedule creates for a time.
local function id_of_run(name, time) return name .. "-" .. time end

-- A schedule without parsing it: its name, the score of its next run ("": none), its text ("": there is no such schedule),
-- and the state of its newest task ("": none).
local function read_schedule(name)
  local text = redis.call("HGET", schedules, name) or ""
  local last = select(6, match(text, SCHEDULE))
  local state = last and last ~= "0" and state_of(id_of_run(name, last))
  return { name, redis.call("ZSCORE", planned, name) or "", text, state or "" }
end

-- Since when runs of the queue's schedules have found no room again and again; nil: they find room. A run that finds none is
-- retried after a second, so `full_at`, when the newest one found none, is not older unless there is room or no broker runs.
local FULL_FOR = 10000 -- ms
local function full_since()
  local since, at = unpack(redis.call("HMGET", stats, "full_since", "full_at"))
  return at and math.abs(now - at) <= FULL_FOR and since or nil
end
