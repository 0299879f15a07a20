#!lua flags=no-writes
--[[ why: what a person needs to know who asks why a task has not run.
  for each   id
  answers    {now, polled (when somebody last asked this queue for tasks; "" never), ahead (ready tasks of a higher
             priority), position (its index in its own list; -1 not among the first 10,000), described task} | false
  cost       O(10,000) at most, for the position ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local described = describe(id)
  if described then
    local priority = tonumber(read_policy(open(id).policy).priority)
    local ahead = 0
    for above = priority + 1, 9 do ahead = ahead + redis.call("LLEN", ready .. above) end
    local position = redis.call("LPOS", ready .. priority, id, "MAXLEN", 10000)
    answers[#answers + 1] = { now, redis.call("HGET", stats, "polled") or "", ahead, position or -1, described }
  else
    answers[#answers + 1] = false
  end
end
return answers
