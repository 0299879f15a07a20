#!lua flags=no-writes
--[[ dead-size: count the dead tasks of queues.
  arguments  queues: names, separated by spaces, as for queue-states
  answers    how many dead tasks these queues hold in all
  cost       O(n) ]]
local queues = unpack(ARGV)

local before, rest = string.match(dead, "^(.-{).-(}.*)$")
local size = 0
for queue in string.gmatch(queues, "%S+") do size = size + redis.call("ZCARD", before .. queue .. rest) end
return size
