#!lua flags=allow-oom
--[[ schedule-set: store a schedule, or delete it, if it has not changed since the caller read it.
  arguments  name; before: the first line of its text as the caller read it ("": there was none); text: the new text ("":
             delete it); score: when its next run starts ("+inf": never)
  answers    "set" | "stale": it has changed, read it again
  cost       O(log N), N = schedules of the queue
  invariant  `planned` has exactly the names in `schedules` ]]
local name, before, text, score = unpack(ARGV)

local found = redis.call("HGET", schedules, name)
if (found and match(found, "^[^\n]*") or "") ~= before then return "stale" end

if text == "" then
  redis.call("HDEL", schedules, name)
  redis.call("ZREM", planned, name)
else
  redis.call("HSET", schedules, name, text)
  redis.call("ZADD", planned, score, name)
end
return "set"
