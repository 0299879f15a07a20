#!lua flags=no-writes
--[[ read: what happened in queues over the last slices of time, of which the newest is not over.
  keys       prefix: as add.lua has it
  arguments  slice: ms; slices: how many; then the queues
  answers    {how many ms that is, then for each queue its counts, divided by spaces; "" where nothing happened}
  cost       O(n * slices) ]]
local prefix = KEYS[1]
local slice, slices = tonumber(ARGV[1]), tonumber(ARGV[2])
local first = 3

local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local newest = math.floor(now / slice)

local sums = {}
for at = newest - slices + 1, newest do
  for i, counts in ipairs(redis.call("HMGET", prefix .. string.format("%d", at), unpack(ARGV, first))) do
    if counts then
      local sum = sums[i] or {}
      local event = 0
      for count in string.gmatch(counts, "%d+") do
        event = event + 1
        sum[event] = (sum[event] or 0) + count
      end
      sums[i] = sum
    end
  end
end
local answer = { (slices - 1) * slice + now % slice }
for i = 1, #ARGV - first + 1 do answer[#answer + 1] = sums[i] and table.concat(sums[i], " ") or "" end
return answer
