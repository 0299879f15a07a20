#!lua flags=no-writes
--[[ queue-state: how many tasks of a queue stand where, since when they wait, and how the queue is set.
  answers    {now, polled (when somebody last asked for tasks; "" never), paused (since when; "" it is not), reason (of
             the pause), concurrency, per_second, burst (its settings; each "" where it has no such limit), oldest (since
             when the longest waiting of those that go next waits: its submit or its newest attempt; 0: none waits), due,
             leases, done, dead, cancelled (how many are in each), then how many are in each ready list, from priority 0}
  cost       O(100) at most, for ids that no task has left behind at the heads of ready lists
  invariant  a ready list may count ids whose tasks have left it; the others count exactly ]]
local answer = { now, redis.call("HGET", stats, "polled") or "" }
for _, value in ipairs(redis.call("HMGET", settings, "paused", "reason", "concurrency", "per_second", "burst")) do
  answer[#answer + 1] = value or ""
end
answer[#answer + 1] = 0
local oldest_at = #answer
for _, set in ipairs({ due, leases, done, dead, cancelled }) do answer[#answer + 1] = redis.call("ZCARD", set) end
local oldest = now
for priority = 0, 9 do
  local count = redis.call("LLEN", ready .. priority)
  local since = count > 0 and waiting_since(priority)
  if since then
    oldest = math.min(oldest, since)
    answer[oldest_at] = oldest
  end
  answer[#answer + 1] = count
end
return answer
