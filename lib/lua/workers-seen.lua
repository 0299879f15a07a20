#!lua flags=allow-oom
--[[ seen: add what one broker has seen of workers to what all have, and forget those that have been away for long.
  keys       about: hash by name, JSON: first (ms), done, failed (counts), queues (by name: ms, when it last asked for
             tasks) and, where it told them, instance, host, version; seen: zset by ms of names, when last; drains: hash by
             name, "ms instance", since when it is to end
  arguments  keep: ms that a worker is known after it was last seen; most: how many are known; then for each: name; ago:
             ms since it was seen; queues: JSON, by name: ms since it asked; done, failed: how many more; instance, host,
             version: "" not told
  answers    how many were forgotten
  cost       O(n log W), W = workers known
  invariant  `about` and `seen` have the same names; `drains` has no other ]]
local about, seen, drains = unpack(KEYS)
local keep, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local first, fields_each = 3, 8
local MOST_QUEUES = 32 -- of one worker: the newest
local MOST_FORGOTTEN = 200

local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function newest(queues)
  local names = {}
  for name in pairs(queues) do names[#names + 1] = name end
  if #names <= MOST_QUEUES then return queues end
  table.sort(names, function(a, b) return queues[a] > queues[b] end)
  local kept = {}
  for i = 1, MOST_QUEUES do kept[names[i]] = queues[names[i]] end
  return kept
end

local names = {}
for i = first, #ARGV, fields_each do names[#names + 1] = ARGV[i] end
local known = #names > 0 and redis.call("HMGET", about, unpack(names)) or {}
local written, scores = {}, {}
for i = first, #ARGV, fields_each do
  local name, ago, queues, done, failed, instance, host, version = unpack(ARGV, i, i + fields_each - 1)
  local at = (i - first) / fields_each + 1
  local last = now - ago
  local w = known[at] and cjson.decode(known[at]) or { first = last, done = 0, failed = 0, queues = {} }
  w.first = math.min(w.first, last)
  w.done, w.failed = w.done + done, w.failed + failed
  if instance ~= "" then w.instance = instance end
  if host ~= "" then w.host = host end
  if version ~= "" then w.version = version end
  for queue, asked in pairs(cjson.decode(queues)) do
    w.queues[queue] = math.max(w.queues[queue] or 0, now - asked)
  end
  w.queues = newest(w.queues)
  written[#written + 1] = name
  written[#written + 1] = cjson.encode(w)
  scores[#scores + 1] = last
  scores[#scores + 1] = name
end
if #names > 0 then
  redis.call("HSET", about, unpack(written))
  redis.call("ZADD", seen, "GT", unpack(scores))
end

local gone = redis.call("ZRANGE", seen, "-inf", now - keep, "BYSCORE", "LIMIT", 0, MOST_FORGOTTEN)
local over = redis.call("ZCARD", seen) - #gone - most
if over > 0 then
  for _, name in ipairs(redis.call("ZRANGE", seen, #gone, #gone + math.min(over, MOST_FORGOTTEN) - 1)) do
    gone[#gone + 1] = name
  end
end
if #gone > 0 then
  redis.call("HDEL", about, unpack(gone))
  redis.call("ZREM", seen, unpack(gone))
  redis.call("HDEL", drains, unpack(gone))
end
return #gone
