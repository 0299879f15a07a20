#!lua flags=no-writes
--[[ rates-read: sum the counts of the newest slices of time. The newest slice is still filling.
  keys       prefix: see rates-add.lua
  arguments  slice: length of a slice in ms; slices: how many to sum; then for each: queue
  answers    {ms that the slices cover so far, then for each queue its sums, separated by spaces ("" if it has none)}
  cost       O(n * slices) ]]
local prefix = unpack(KEYS)
local slice, slices = unpack(ARGV)
local first, fields_each = 3, 1

local queues = {}
for i = first, #ARGV, fields_each do
  local queue = ARGV[i]
  queues[#queues + 1] = queue
end

local newest = math.floor(now / slice)
local sums_by_index = {}
for number = newest - slices + 1, newest do
  for i, counts in ipairs(redis.call("HMGET", prefix .. int(number), unpack(queues))) do
    if counts then
      local sums = sums_by_index[i] or {}
      local event = 0
      for count in string.gmatch(counts, "%d+") do
        event = event + 1
        sums[event] = (sums[event] or 0) + count
      end
      sums_by_index[i] = sums
    end
  end
end
local answer = { (slices - 1) * slice + now % slice }
for i = 1, #queues do
  local sums = sums_by_index[i]
  answer[#answer + 1] = sums and table.concat(sums, " ") or ""
end
return answer
