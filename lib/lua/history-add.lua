#!lua
--[[ history-add: add what one broker has counted, or the depths that it has read, to the points of a minute and of its hour.
  Points are text: see lib/observe/history-point.ts.
  keys       points: prefix of hashes with points of minutes (by minute of an hour) and of hours (by hour of a day)
             types: prefix of zsets with the types that have points of their own in such a hash, by how busy they were
  arguments  broker: a random name; batch: number of this call, so that a repeated call adds nothing; minute: its number since
             1970; max_types: how many types of a queue have points of their own; keep_minutes, keep_hours: ms after a new point
             for which its hash is kept; then for each: queue ("": all queues together); type ("": the whole queue); weight: how
             busy the type was; point
  answers    1: this call is the first about this minute | 0
  cost       O(n)
  invariant  the point of a queue is the sum of what all brokers have added; at most max_types types of it have points ]]
local points, types = unpack(KEYS)
local broker, batch, minute, max_types, keep_minutes, keep_hours = unpack(ARGV)
local first, fields_each = 7, 4

local hour = math.floor(minute / 60)
local BY_MINUTE = { at = "m:" .. int(hour) .. ":", field = int(minute % 60), keep = keep_minutes }
local BY_HOUR = { at = "h:" .. int(math.floor(hour / 24)) .. ":", field = int(hour % 24), keep = keep_hours }
local GAUGES = { q = true, y = true, p = true } -- of these numbers the largest is kept, of all others the sum

local function add_numbers(a, b, gauges)
  local sums, letters = {}, {}
  for _, text in ipairs({ a, b }) do
    for letter, number in string.gmatch(text, "(%a)(%d+)") do
      local before = sums[letter]
      if not before then letters[#letters + 1] = letter end
      sums[letter] = gauges[letter] and math.max(before or 0, number) or (before or 0) + number
    end
  end
  for i, letter in ipairs(letters) do letters[i] = letter .. int(sums[letter]) end
  return table.concat(letters)
end

local PARTS = "^([^|]*)|([^|]*)|([^|]*)$"
local function add(a, b)
  local counts, wait, run = string.match(a, PARTS)
  local more_counts, more_wait, more_run = string.match(b, PARTS)
  return add_numbers(counts, more_counts, GAUGES) .. "|" .. add_numbers(wait, more_wait, {}) .. "|"
    .. add_numbers(run, more_run, {})
end

-- Returns whether there was no such point before.
local function add_point(level, series, point)
  local key = points .. level.at .. series
  local before = redis.call("HGET", key, level.field)
  redis.call("HSET", key, level.field, before and add(before, point) or point)
  if not before then redis.call("PEXPIRE", key, level.keep) end
  return not before
end

-- Whether a type has points of its own. A type that is busier now than another one was in all takes its place, and the points
-- of that one are deleted: what a queue did beside its types is the difference.
local function admit(level, queue, type, weight)
  local key = types .. level.at .. queue
  local is_new = not redis.call("ZSCORE", key, type)
  if is_new and redis.call("ZCARD", key) >= tonumber(max_types) then
    local least, least_weight = unpack(redis.call("ZRANGE", key, 0, 0, "WITHSCORES"))
    if tonumber(weight) <= tonumber(least_weight) then return false end
    redis.call("UNLINK", points .. level.at .. queue .. ":" .. least)
    redis.call("ZREM", key, least)
  end
  redis.call("ZINCRBY", key, weight, type)
  if is_new then redis.call("PEXPIRE", key, level.keep) end
  return true
end

local brokers = points .. BY_MINUTE.at -- the hash with the points of all queues
if redis.call("HGET", brokers, broker) == batch then return 0 end

local is_first = false
for i = first, #ARGV, fields_each do
  local queue, type, weight, point = unpack(ARGV, i, i + fields_each - 1)
  if queue == "" then
    is_first = add_point(BY_MINUTE, queue, point)
    add_point(BY_HOUR, queue, is_first and "m1" .. point or point) -- counts the minutes in which a broker ran
  elseif type == "" then
    add_point(BY_MINUTE, queue, point)
    add_point(BY_HOUR, queue, point)
  else
    for _, level in ipairs({ BY_MINUTE, BY_HOUR }) do
      if admit(level, queue, type, weight) then add_point(level, queue .. ":" .. type, point) end
    end
  end
end
redis.call("HSET", brokers, broker, batch)
return is_first and 1 or 0
