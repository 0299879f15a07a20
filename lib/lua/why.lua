#!lua flags=no-writes
--[[ why: what a person needs to know who asks why a task has not run.
  for each   id
  answers    {now, polled (when somebody last asked this queue for tasks; "" never), ahead (ready tasks of a higher
             priority), position (its index in its own list; -1 not among the first 10,000), paused (since when the
             queue is; "" it is not), reason (of the pause), limited
             (1: no more may go out now by its settings), described task} | false
  cost       O(10,000) at most, for the position ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local described = read_raw(id)
  if described then
    local priority = tonumber(read_policy(open(id).policy).priority)
    local ahead = 0
    for above = priority + 1, 9 do ahead = ahead + redis.call("LLEN", ready .. above) end
    local position = redis.call("LPOS", ready .. priority, id, "MAXLEN", 10000)
    local polled = redis.call("HGET", stats, "polled")
    local paused, reason, concurrency, per_second, burst =
      unpack(redis.call("HMGET", settings, "paused", "reason", "concurrency", "per_second", "burst"))
    local limited = allowance(concurrency, per_second, burst) == 0 and 1 or 0
    answers[#answers + 1] =
      { now, polled or "", ahead, position or -1, paused or "", reason or "", limited, described }
  else
    answers[#answers + 1] = false
  end
end
return answers
