#!lua flags=allow-oom
--[[ drain: have a worker end, or not any more. All brokers are told. It is about the run of the worker that was seen last,
  by its instance: one that starts anew under the name is another.
  keys       about, drains: as seen.lua has them; channel: where all brokers listen
  arguments  name; on: "1" it is to end, "0" it is not
  answers    since when (ms; 0: not at all), or -1 where no such worker is known
  cost       O(1) ]]
local about, drains, channel = unpack(KEYS)
local name, on = unpack(ARGV)
local known = redis.call("HGET", about, name)
if not known then return -1 end

local since = 0
if on == "1" then
  local instance = cjson.decode(known).instance or ""
  local before, of = string.match(redis.call("HGET", drains, name) or "", "^(%d+) (.*)$")
  local clock = redis.call("TIME")
  since = of == instance and tonumber(before) or clock[1] * 1000 + math.floor(clock[2] / 1000)
  redis.call("HSET", drains, name, string.format("%d %s", since, instance))
else
  redis.call("HDEL", drains, name)
end
redis.call("PUBLISH", channel, name)
return since
