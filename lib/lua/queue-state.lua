#!lua flags=no-writes
--[[ queue-state: how many tasks of a queue are in each place, how long they have waited, and the settings of the queue.
  arguments  queues: names, separated by spaces, as for queue-states
  answers    for each {now, polled (ms of the last poll; "" never), paused (ms since; "" not paused), reason (of the pause),
             concurrency, per_second, burst, rates, groups, attention (settings; "" none), dead_lately, dead_since (how many
             tasks died in the last 24 hours, and when the first of them did), next_run (the earliest planned time of a
             schedule; "" none), full_since (since when runs of schedules have found no room; "" they find room), oldest (ms
             since which the longest waiting task among the heads of the ready lists waits: its submit or its newest attempt;
             0: none waits), due, leases, done, dead, cancelled (their sizes), soon (how many of due become ready within a
             minute), then the size of each ready list, from priority 0}
  cost       O(100) at most per queue, for stale ids at the heads of ready lists
  invariant  the sizes are exact, except that ready lists may contain stale ids ]]
local queues = unpack(ARGV)
local DAY = 86400000

local SOON = 60000 -- ms

local answers = {}
for queue in string.gmatch(queues, "%S+") do
  use_queue(queue)
  local answer = { now, redis.call("HGET", stats, "polled") or "" }
  local fields = { "paused", "reason", "concurrency", "per_second", "burst", "rates", "groups", "attention" }
  for _, value in ipairs(redis.call("HMGET", settings, unpack(fields))) do
    answer[#answer + 1] = value or ""
  end
  local died = redis.call("ZRANGE", dead, int(now - DAY), "+inf", "BYSCORE", "LIMIT", 0, 1, "WITHSCORES")
  answer[#answer + 1] = died[1] and redis.call("ZCOUNT", dead, died[2], "+inf") or 0
  answer[#answer + 1] = tonumber(died[2] or 0)
  local run = redis.call("ZRANGE", planned, 0, 0, "WITHSCORES")[2]
  answer[#answer + 1] = run and run ~= "inf" and run or ""
  answer[#answer + 1] = run and full_since() or ""
  answer[#answer + 1] = 0
  local oldest_at = #answer
  for _, set in ipairs({ due, leases, done, dead, cancelled }) do answer[#answer + 1] = redis.call("ZCARD", set) end
  answer[#answer - 2] = answer[#answer - 2] + redis.call("LLEN", completed)
  answer[#answer + 1] = redis.call("ZCOUNT", due, "-inf", int(now + SOON))
  local oldest = now
  for priority = 0, 9 do
    local count = redis.call("LLEN", ready .. priority)
    local since = count > 0 and waiting_since(priority)
    if since then
      oldest = math.min(oldest, since)
      answer[oldest_at] = oldest
    end
    answer[#answer + 1] = count + grouped_in(priority)
  end
  answers[#answers + 1] = answer
end
return answers
