#!lua flags=allow-oom
--[[ workers-drain: mark a worker as draining, or remove the mark, and notify all brokers. The mark names the instance
  that was seen last, so a worker that is restarted under the same name is not draining.
  keys       about, drains: see workers-seen.lua; channel: where all brokers listen
  arguments  name: of the worker; on: "1" marks it, "0" removes the mark
  answers    ms since which it is draining (0: it is not), or -1 if no worker has this name
  cost       O(1)
  invariant  marking an instance again keeps the time of its first mark ]]
local about, drains, channel = unpack(KEYS)
local name, on = unpack(ARGV)

local known = redis.call("HGET", about, name)
if not known then return -1 end

local since = 0
if on == "1" then
  local instance = cjson.decode(known).instance or ""
  local marked_at, marked_instance = string.match(redis.call("HGET", drains, name) or "", "^(%d+) (.*)$")
  since = marked_instance == instance and tonumber(marked_at) or now
  redis.call("HSET", drains, name, int(since) .. " " .. instance)
else
  redis.call("HDEL", drains, name)
end
publish_hint(channel, name)
return since
