#!lua flags=no-writes
--[[ newest: the last tasks of the ready lists of several queues, the ends of the lists first, with the times of their submits.
  arguments  queues: names, separated by spaces, as for queue-states; priorities: digits of the lists, such as "9876543210"; skip:
             how many entries at the end of each list are passed over; limit: how many entries of each list are read
  answers    {now, {queue, priority, more (1: the list has entries before these), {id, created}, ...} for each list that has
             entries, ...}; entries without a queued task, and turns of groups, are left out
  cost       O(queues × priorities × (limit + skip)), of which skip is 14 ns per entry ]]
local queues, priorities, skip, limit = unpack(ARGV)
local HEADER_BYTES = 250 -- the first line of a task and its priority
skip, limit = tonumber(skip), tonumber(limit)

local answer = { now }
for queue in string.gmatch(queues, "%S+") do
  use_queue(queue)
  for priority in string.gmatch(priorities, "%d") do
    local last = -1 - skip
    local ids = redis.call("LRANGE", ready .. priority, last - limit + 1, last)
    if #ids > 0 then
      local found = { queue, priority, 0 }
      for i = #ids, 1, -1 do
        local header = byte(ids[i]) ~= TURN and redis.call("GETRANGE", task .. ids[i], 0, HEADER_BYTES - 1) or ""
        local _, created, current = match(header, WAITING_SINCE)
        if current == priority then found[#found + 1] = { ids[i], created } end
      end
      if #ids == limit and redis.call("LLEN", ready .. priority) > skip + limit then found[3] = 1 end
      answer[#answer + 1] = found
    end
  end
end
return answer
