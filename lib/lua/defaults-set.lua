#!lua flags=allow-oom
--[[ defaults-set: set or remove the defaults of a queue, even if the memory is full.
  keys       defaults: hash by queue
  arguments  queue; text: the defaults as JSON, "" removes them
  answers    "set"
  cost       O(1) ]]
local defaults = unpack(KEYS)
local queue, text = unpack(ARGV)

if text == "" then
  redis.call("HDEL", defaults, queue)
else
  redis.call("HSET", defaults, queue, text)
end
return "set"
