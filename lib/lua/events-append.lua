#!lua
--[[ tell: put events into their stream, which keeps the newest, and none that is too old.
  arguments  most: how many it keeps; kept: for how many ms; then for each: event, queue, task, data
  answers    nothing
  cost       O(n); some more where much is too old ]]
local stream = KEYS[1]
local most, kept = unpack(ARGV)
local first, fields_each = 3, 4

local clock = redis.call("TIME")
local oldest = clock[1] * 1000 - kept

for i = first, #ARGV, fields_each do
  local event, queue, task, data = unpack(ARGV, i, i + fields_each - 1)
  redis.call("XADD", stream, "MAXLEN", "~", most, "*", "event", event, "queue", queue, "task", task, "data", data)
end
redis.call("XTRIM", stream, "MINID", "~", string.format("%d", oldest))
