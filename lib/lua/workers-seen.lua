#!lua flags=allow-oom
--[[ workers-seen: add what one broker has seen of workers to what all brokers have seen, and delete workers that have not
  been seen for long.
  keys       about: hash by name (and instance and binding: see lib/queue/worker-registry.ts), JSON: first (ms when it was first
             seen), done, failed (counts), queues (by name: ms when it last polled the queue), minute (the newest minute since
             1970 in which attempts ended), ended (how many in it), ended_before (and in the minute before), and instance, host,
             version, concurrency if the worker sent them
             seen: zset by ms: names, by when they were last seen
             drains: hash by name: ms since when it is draining
  arguments  retention: ms that a worker is kept after it was last seen; max_workers: how many workers are kept; then for
             each: name; ago: ms since it was seen; queues: JSON, by name: ms since it polled the queue; done, failed: how
             many to add; instance, host, version, concurrency ("" if the worker did not send it)
  answers    how many workers were deleted
  cost       O(n log W), W = known workers
  invariant  `about` and `seen` have the same names; every name in `drains` is one of them ]]
local about, seen, drains = unpack(KEYS)
local retention, max_workers = unpack(ARGV)
local first, fields_each = 3, 9
local MAX_QUEUES = 32 -- per worker: those polled last
local MAX_MOVED = 200 -- how many workers one call deletes, and of how many it corrects the time

local minute = math.floor(now / 60000)

local function newest(queues)
  local names = {}
  for name in pairs(queues) do names[#names + 1] = name end
  if #names <= MAX_QUEUES then return queues end
  table.sort(names, function(a, b) return queues[a] > queues[b] end)
  local kept = {}
  for i = 1, MAX_QUEUES do kept[names[i]] = queues[names[i]] end
  return kept
end

-- Times later than now were written before the clock was set back. They would hide for as long that a worker has gone.
for _, name in ipairs(redis.call("ZRANGE", seen, "(" .. now_text, "+inf", "BYSCORE", "LIMIT", 0, MAX_MOVED)) do
  redis.call("ZADD", seen, now_text, name)
end

local names = {}
for i = first, #ARGV, fields_each do names[#names + 1] = ARGV[i] end
local known = #names > 0 and redis.call("HMGET", about, unpack(names)) or {}
local written, scores = {}, {}
for i = first, #ARGV, fields_each do
  local name, ago, queues, done, failed, instance, host, version, concurrency = unpack(ARGV, i, i + fields_each - 1)
  local before = known[(i - first) / fields_each + 1]
  local last = now - ago
  local w = before and cjson.decode(before) or { first = last, done = 0, failed = 0, queues = {} }
  w.first = math.min(w.first, last)
  w.done, w.failed = w.done + done, w.failed + failed
  if done + failed > 0 then
    if w.minute ~= minute then
      w.ended_before = w.minute == minute - 1 and w.ended or 0
      w.minute, w.ended = minute, 0
    end
    w.ended = w.ended + done + failed
  end
  if instance ~= "" then w.instance = instance end
  if host ~= "" then w.host = host end
  if version ~= "" then w.version = version end
  if concurrency ~= "" then w.concurrency = tonumber(concurrency) end
  for queue, polled_ago in pairs(cjson.decode(queues)) do
    w.queues[queue] = math.max(w.queues[queue] or 0, now - polled_ago)
  end
  for queue, polled in pairs(w.queues) do w.queues[queue] = math.min(polled, now) end
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

local gone = redis.call("ZRANGE", seen, "-inf", now - retention, "BYSCORE", "LIMIT", 0, MAX_MOVED)
local excess = redis.call("ZCARD", seen) - #gone - max_workers
if excess > 0 then
  for _, name in ipairs(redis.call("ZRANGE", seen, #gone, #gone + math.min(excess, MAX_MOVED) - 1)) do
    gone[#gone + 1] = name
  end
end
if #gone > 0 then
  redis.call("HDEL", about, unpack(gone))
  redis.call("ZREM", seen, unpack(gone))
  redis.call("HDEL", drains, unpack(gone))
end
return #gone
