#!lua flags=allow-oom
--[[ workers-drain: mark workers as draining, or remove the marks, and notify all brokers. A mark applies to one run of a
  worker, so a worker that is restarted under the same name is not draining.
  keys       about, drains: see workers-seen.lua; channel: where all brokers listen
  arguments  on: "1" marks them, "0" removes the marks; then for each: name: of the worker, as in `about`
  answers    ms since which the first of them is draining (0: none is), or -1 if none of them is known
  cost       O(n)
  invariant  marking a worker again keeps the time of its first mark ]]
local about, drains, channel = unpack(KEYS)
local on = ARGV[1]

local first, fields_each = 2, 1
local known = {}
for i = first, #ARGV, fields_each do
  local name = ARGV[i]
  if redis.call("HEXISTS", about, name) == 1 then known[#known + 1] = name end
end
if #known == 0 then return -1 end

local since = 0
for _, name in ipairs(known) do
  if on == "1" then
    redis.call("HSETNX", drains, name, int(now))
    local marked = tonumber(redis.call("HGET", drains, name)) or now
    since = since == 0 and marked or math.min(since, marked)
  else
    redis.call("HDEL", drains, name)
  end
end
publish_hint(channel, known[1])
return since
