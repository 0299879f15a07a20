#!lua flags=no-writes
--[[ schedules-page: list schedules of a queue by the time of their next run, those that have none last.
  arguments  limit; score, name: of the last schedule looked at by the previous call ("": the first call); before: what the
             ids of the queue's schedules have before the name; part: a text in lower case that ids must contain ("": all)
  answers    {now, score, name, schedule, ...}   score, name: of the last schedule looked at ("": there are no more to look
             at); see read_schedule
  cost       O(log² N + limit); with a part O(log² N + 1,000)
  invariant  a schedule that runs during the listing may come twice; none is left out because others have changed ]]
local limit, score, name, before, part = unpack(ARGV)
local MAX_LOOKED = 1000

local from = score == "" and 0 or rank_after(planned, score, name, true)
local most = part == "" and tonumber(limit) or MAX_LOOKED
local entries = redis.call("ZRANGE", planned, from, from + most - 1)
local answer, last = { now, "", "" }, 0
for i, entry in ipairs(entries) do
  if #answer == limit + 3 then break end
  if find(string.lower(before .. entry), part, 1, true) then answer[#answer + 1] = read_schedule(entry) end
  last = i
end
if from + last < redis.call("ZCARD", planned) then
  answer[2], answer[3] = redis.call("ZSCORE", planned, entries[last]), entries[last]
end
return answer
