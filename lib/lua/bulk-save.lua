#!lua flags=allow-oom
--[[ bulk-save: store the progress of a bulk operation, and keep or end the claim on it.
  keys       due, operation, open: see bulk-start.lua
  arguments  id; fence: of the claim; progress: as JSON; page: the tasks in hand, as JSON, "": none; state; wait: ms until the
             next step, "" if there is none; held: 1 if the broker keeps the claim until then; then for each: task: a retried
             task whose outcome is not known
  answers    {code, stop ("": nobody asked to stop it), now}: "saved" | "lost": another broker has taken it, or it is gone
  cost       O(n)
  invariant  progress and retried tasks are stored together, so a page that is repeated counts once ]]
local due, operation, open = unpack(KEYS)
local id, fence, progress, page, state, wait, held = unpack(ARGV)
local first, fields_each = 8, 1

local found = redis.call("HMGET", operation .. id, "fence", "stop")
if found[1] ~= fence then return { "lost", "", now } end
for i = first, #ARGV, fields_each do
  local task = ARGV[i]
  redis.call("SADD", open .. id, task)
end
redis.call("HSET", operation .. id, "progress", progress, "page", page, "state", state)
if state ~= "running" and state ~= "waiting_for_canary" then redis.call("HSETNX", operation .. id, "ended", now_text) end
if held ~= "1" then redis.call("HDEL", operation .. id, "held") end
if wait == "" then
  redis.call("ZREM", due, id)
else
  redis.call("ZADD", due, int(now + wait), id)
end
return { "saved", found[2] or "", now }
