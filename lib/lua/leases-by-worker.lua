#!lua flags=no-writes
--[[ leases-by-worker: who holds the live leases of a queue, a part of them at a time.
  arguments  from: how many to pass over, of those that lapse first; limit: how many to look at
  answers    {looked, then for each worker among them {name, how many it holds, up to ten of their ids}}; leases of workers
             without a name are looked at and not told
  cost       O(log L + from + limit), L = live leases
  invariant  a lease that has lapsed is nobody's, whether or not it was swept ]]
local from, limit = unpack(ARGV)
local MOST_IDS = 10

local ids = redis.call("ZRANGE", leases, "(" .. now_text, "+inf", "BYSCORE", "LIMIT", from, limit)
load(ids)

local answer, of = { #ids }, {}
for _, id in ipairs(ids) do
  local t = open(id)
  if t and t.state == "processing" and t.worker ~= "?" then
    local holder = of[t.worker]
    if not holder then
      holder = { t.worker, 0, {} }
      of[t.worker] = holder
      answer[#answer + 1] = holder
    end
    holder[2] = holder[2] + 1
    if holder[2] <= MOST_IDS then holder[3][holder[2]] = id end
  end
end
return answer
