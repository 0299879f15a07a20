#!lua flags=no-writes
--[[ why: the facts that explain why a task has not run.
  for each   id
  answers    {now, polled (ms of the last poll; "" never), ahead (how many ready tasks have a higher priority), position
             (index in its ready list; -1: not among the first 10,000), paused (ms since the queue is; "" not paused),
             reason (of the pause), limited (1: the settings of the queue allow no lease now), raw task} | false if there is
             no such task
  cost       O(10,000) at most, for the position ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local raw = read_raw(id)
  if raw then
    local priority = tonumber(read_policy(open(id).policy).priority)
    local ahead = 0
    for above = priority + 1, 9 do ahead = ahead + redis.call("LLEN", ready .. above) end
    local position = redis.call("LPOS", ready .. priority, id, "MAXLEN", 10000)
    local polled = redis.call("HGET", stats, "polled")
    local paused, reason, concurrency, per_second, burst =
      unpack(redis.call("HMGET", settings, "paused", "reason", "concurrency", "per_second", "burst"))
    local limited = allowance(concurrency, per_second, burst) == 0 and 1 or 0
    answers[#answers + 1] =
      { now, polled or "", ahead, position or -1, paused or "", reason or "", limited, raw }
  else
    answers[#answers + 1] = false
  end
end
return answers
