#!lua flags=allow-oom
--[[ queues-register: add names to the names of all queues, even if the memory is full: operators pause queues then.
  for each   name
  keys       queues: set of names
  answers    how many names were added
  cost       O(n) ]]
local queues = unpack(KEYS)

local added = 0
for _, name in ipairs(ARGV) do added = added + redis.call("SADD", queues, name) end
return added
