#!lua flags=allow-oom
--[[ bulk-start: store a bulk operation, whose first step is due now, and forget the oldest ones that have ended.
  keys       started: zset by ms: ids, by when they were started; due: zset by ms: ids with work left, by when any broker
             may take the next step; operation: prefix of one hash per id: about, selected (ids), progress and page (the
             tasks in hand) as JSON, state, fence (grows with each claim), stop (JSON), and the outcomes of retried tasks;
             open: prefix of one set per id: retried tasks whose outcome is not known
  arguments  id; about: what was requested, as JSON; selected: the tasks, as JSON, "": by a filter; progress: as JSON; kept:
             how many operations are kept; most: how many may be unfinished
  answers    {code, about, now}: "started" | "exists" (with its own `about`) | "full"
  cost       O(K), K = kept operations
  invariant  an operation that has not ended is never forgotten ]]
local started, due, operation, open = unpack(KEYS)
local id, about, selected, progress, kept, most = unpack(ARGV)

local known = redis.call("HGET", operation .. id, "about")
if known then return { "exists", known, now } end

local function has_ended(other) return redis.call("HGET", operation .. other, "ended") end
local ids = redis.call("ZRANGE", started, 0, -1)
local ended = {}
for _, other in ipairs(ids) do
  if has_ended(other) then ended[#ended + 1] = other end
end
if #ids - #ended >= tonumber(most) then return { "full", "", now } end
for i = 1, math.min(#ended, #ids + 1 - kept) do
  redis.call("UNLINK", operation .. ended[i], open .. ended[i])
  redis.call("ZREM", started, ended[i])
  redis.call("ZREM", due, ended[i])
end
redis.call("HSET", operation .. id, "about", about, "progress", progress, "state", "running", "started", now_text)
if selected ~= "" then redis.call("HSET", operation .. id, "selected", selected) end
redis.call("ZADD", started, now_text, id)
redis.call("ZADD", due, now_text, id)
return { "started", about, now }
