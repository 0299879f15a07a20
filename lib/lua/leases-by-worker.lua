#!lua flags=no-writes
--[[ leases-by-worker: which workers hold the live leases of a queue, one page per call.
  arguments  from: how many leases to skip, those that lapse first; limit: how many to read
  answers    {how many leases were read, then for each of their workers {name, how many it holds, up to ten of their ids}};
             leases of workers without a name are read but not listed
  cost       O(log L + from + limit), L = live leases
  invariant  a lapsed lease is not listed, even before it is swept ]]
local from, limit = unpack(ARGV)
local MAX_IDS = 10

local ids = redis.call("ZRANGE", leases, "(" .. now_text, "+inf", "BYSCORE", "LIMIT", from, limit)
load(ids)

local answer, holders = { #ids }, {}
for _, id in ipairs(ids) do
  local t = open(id)
  if t and t.state == "processing" and t.worker ~= "?" then
    local holder = holders[t.worker]
    if not holder then
      holder = { t.worker, 0, {} }
      holders[t.worker] = holder
      answer[#answer + 1] = holder
    end
    holder[2] = holder[2] + 1
    if holder[2] <= MAX_IDS then holder[3][holder[2]] = id end
  end
end
return answer
