#!lua flags=allow-oom
--[[ add: count what happened in queues since this broker told last.
  keys       prefix: of hashes by slice of time: by queue, its counts, divided by spaces
  arguments  slice: ms; keep: ms that a slice is kept; then for each: queue; counts: of each event
  answers    "added"
  cost       O(n) ]]
local prefix = KEYS[1]
local slice, keep = unpack(ARGV)
local first, fields_each = 3, 2

local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local key = prefix .. string.format("%d", math.floor(now / slice))

local queues = {}
for i = first, #ARGV, fields_each do queues[#queues + 1] = ARGV[i] end
local before = redis.call("HMGET", key, unpack(queues))
local written = {}
for i, queue in ipairs(queues) do
  local more = ARGV[first + (i - 1) * fields_each + 1]
  if before[i] then
    local had = string.gmatch(before[i], "%d+")
    more = string.gsub(more, "%d+", function(count) return string.format("%d", count + (had() or 0)) end)
  end
  written[#written + 1] = queue
  written[#written + 1] = more
end
redis.call("HSET", key, unpack(written))
redis.call("PEXPIRE", key, keep)
return "added"
