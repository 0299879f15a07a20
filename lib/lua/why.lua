#!lua flags=no-writes
--[[ why: the facts that explain why a task has not run.
  for each   id
  answers    {now, polled (ms of the last poll; "" never), ahead (how many ready tasks have a higher priority), position
             (index in its ready list; -1: not among the first 10,000), paused (ms since the queue is; "" not paused),
             reason (of the pause), limited (1: the settings of the queue allow no lease now), raw task, then, if the
             group of the task may not go on: cause (as groups.lua names it), until (ms; 0: an event ends it), note (of its
             pause), ids (of up to 10 tasks that have its slots)} | false if there is no such task
  cost       O(10,000) at most, for the position ]]
local MAX_POSITION = 10000

local answers = {}
for _, id in ipairs(ARGV) do
  local raw = read_raw(id)
  if raw then
    local policy = read_policy(open(id).policy)
    local priority, group = tonumber(policy.priority), policy.group
    local ahead = 0
    for above = priority + 1, 9 do ahead = ahead + redis.call("LLEN", ready .. above) + grouped_in(above) end
    local position
    if group then
      position = open_groups().position(group, priority, id, MAX_POSITION)
    else
      position = redis.call("LPOS", ready .. priority, id, "MAXLEN", MAX_POSITION)
    end
    local polled = redis.call("HGET", stats, "polled")
    local paused, reason, concurrency, rates, per_second, burst =
      unpack(redis.call("HMGET", settings, "paused", "reason", "concurrency", "rates", "per_second", "burst"))
    local limited = allowance(concurrency, read_rates(rates, per_second, burst)) == 0 and 1 or 0
    local answer = { now, polled or "", ahead, position or -1, paused or "", reason or "", limited, raw }
    if group then
      for _, fact in ipairs({ groups.held_because(group, priority, 10) }) do answer[#answer + 1] = fact end
    end
    answers[#answers + 1] = answer
  else
    answers[#answers + 1] = false
  end
end
return answers
