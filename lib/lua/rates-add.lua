#!lua flags=allow-oom
--[[ rates-add: add what one broker has counted to the counts of the current slice of time.
  keys       prefix: of one hash per slice, named by its number; by queue: its counts, separated by spaces
  arguments  slice: length of a slice in ms; retention: ms that a slice is kept; then for each: queue; counts: how many of
             each event to add, separated by spaces
  answers    "added"
  cost       O(n)
  invariant  the counts of a slice are the sums of what all brokers have added ]]
local prefix = unpack(KEYS)
local slice, retention = unpack(ARGV)
local first, fields_each = 3, 2

local key = prefix .. int(math.floor(now / slice))
local queues = {}
for i = first, #ARGV, fields_each do queues[#queues + 1] = ARGV[i] end
local stored = redis.call("HMGET", key, unpack(queues))
local written = {}
for i = first, #ARGV, fields_each do
  local queue, counts = unpack(ARGV, i, i + fields_each - 1)
  local before = stored[(i - first) / fields_each + 1]
  if before then
    local next_count = string.gmatch(before, "%d+")
    counts = string.gsub(counts, "%d+", function(count) return int(count + (next_count() or 0)) end)
  end
  written[#written + 1] = queue
  written[#written + 1] = counts
end
redis.call("HSET", key, unpack(written))
redis.call("PEXPIRE", key, retention)
return "added"
