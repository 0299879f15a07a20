#!lua flags=no-writes
--[[ leases-by-worker: which workers hold the live leases of queues, a bounded number of leases per call.
  arguments  queues: names, separated by spaces, as for queue-states; from: how many leases of the first one to skip, those
             that lapse first; limit: how many leases to read; most: how many of one queue
  answers    {how many of the queues are complete, how many leases of the next one were read or skipped, then for each worker
             {name, how many it holds, {queue, id, ...} of up to ten}}
             leases of workers without a name are read but not listed
  cost       O(queues × log L + from + limit), L = live leases
  invariant  a lapsed lease is not listed, even before it is swept ]]
local queues, from, limit, most = unpack(ARGV)
local MAX_IDS = 10
local HEADER_BYTES = 200 -- the columns up to the worker; a whole text may be large

local answer, holders = { 0, 0 }, {}
from, limit, most = tonumber(from), tonumber(limit), tonumber(most)
for queue in string.gmatch(queues, "%S+") do
  use_queue(queue)
  local count = math.min(limit, most - from)
  local ids = redis.call("ZRANGE", leases, "(" .. now_text, "+inf", "BYSCORE", "LIMIT", from, count)
  for _, id in ipairs(ids) do
    local worker = match(redis.call("GETRANGE", task .. id, 0, HEADER_BYTES - 1), HOLDER)
    if worker and worker ~= "?" then
      local holder = holders[worker]
      if not holder then
        holder = { worker, 0, {} }
        holders[worker] = holder
        answer[#answer + 1] = holder
      end
      holder[2] = holder[2] + 1
      if holder[2] <= MAX_IDS then
        holder[3][2 * holder[2] - 1], holder[3][2 * holder[2]] = queue, id
      end
    end
  end
  limit = limit - #ids
  if #ids == count and count < most - from then
    answer[2] = from + count
    break
  end
  from = 0
  answer[1] = answer[1] + 1
  if limit == 0 then break end
end
return answer
