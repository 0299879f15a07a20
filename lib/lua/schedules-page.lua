#!lua flags=no-writes
--[[ schedules-page: list schedules of a queue by the time of their next run, those that have none last.
  arguments  limit; score, name: of the last schedule on the previous page ("": the first page)
  answers    {now, schedule, ...}   see read_schedule
  cost       O(log² N + limit)
  invariant  a schedule that runs during the listing may come twice; none is left out because others have changed ]]
local limit, score, name = unpack(ARGV)

local from = score == "" and 0 or rank_after(planned, score, name, true)
local answer = { now }
for _, entry in ipairs(redis.call("ZRANGE", planned, from, from + limit - 1)) do
  answer[#answer + 1] = read_schedule(entry)
end
return answer
