#!lua flags=allow-oom
--[[ forget: find out whether a queue is unused: it has no tasks, schedules or settings, and no worker polled it lately. If
  so, delete what is left of it.
  arguments  polled: ms since the last poll, at least; fix: 1 deletes, 0 only answers
  answers    "used" | "unused"
  cost       O(10,000) at most, for stale ids in ready lists
  invariant  deletes nothing of a queue in use; idempotency records remain until they expire ]]
local polled, fix = unpack(ARGV)
local MAX_STALE = 1000 -- per priority

local at = redis.call("HGET", stats, "polled")
if at and math.abs(now - at) < tonumber(polled) then return "used" end
local keys = { due, leases, done, completed, dead, cancelled, expiring, settings, schedules, planned }
if redis.call("EXISTS", unpack(keys)) > 0 or open_groups().are_used() then return "used" end
for priority = 0, 9 do
  local list = ready .. priority
  for _ = 1, MAX_STALE do
    local id = redis.call("LINDEX", list, 0)
    if not id then break end
    if fix == "0" or redis.call("EXISTS", task .. id) == 1 then return "used" end
    redis.call("LPOP", list)
  end
  if redis.call("EXISTS", list) == 1 then return "used" end
end
if fix == "1" then redis.call("UNLINK", stats) end
return "unused"
