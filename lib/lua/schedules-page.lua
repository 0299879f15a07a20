#!lua flags=no-writes
--[[ schedules-page: list schedules of a queue by the time of their next run, those that have none last.
  arguments  limit; score, name: of the last schedule on the previous page ("": the first page)
  answers    {now, schedule, ...}   see read_schedule
  cost       O(log N + limit)
  invariant  a schedule that runs during the listing may come twice ]]
local limit, score, name = unpack(ARGV)

local from = 0
if score ~= "" then
  local same = redis.call("ZSCORE", planned, name) == score
  from = same and redis.call("ZRANK", planned, name) + 1 or redis.call("ZCOUNT", planned, "-inf", "(" .. score)
end
local answer = { now }
for _, entry in ipairs(redis.call("ZRANGE", planned, from, from + limit - 1)) do
  answer[#answer + 1] = read_schedule(entry)
end
return answer
