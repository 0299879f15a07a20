#!lua flags=no-writes
--[[ page: a page of the tasks in one place: a zset, the highest score first, or a ready list, the oldest first.
  arguments  place: "due" | "leases" | "done" | "dead" | "cancelled", or a priority; limit; score, id: the last entry
             of the page before ("" from the start); in a list the score is its index; bare: 1 leaves payloads that have
             keys of their own out
  answers    {size, {score, id, described task | false}, ...}   false: an id that a task no more has left behind
  cost       O(log² N + limit) in a zset; O(index + limit) in a list
  invariant  a page of a zset goes on where the one before ended, also if that entry has left or newer ones came ]]
local place, limit, score, id, bare = unpack(ARGV)
limit = tonumber(limit)

local answer
local function show(entry, at) answer[#answer + 1] = { at, entry, read_raw(entry, bare == "1") } end

if string.match(place, "^%d$") then
  local list = ready .. place
  local from = score == "" and 0 or tonumber(score) + 1
  answer = { redis.call("LLEN", list) }
  if limit > 0 then
    for i, entry in ipairs(redis.call("LRANGE", list, from, from + limit - 1)) do show(entry, tostring(from + i - 1)) end
  end
  return answer
end

local set = ({ due = due, leases = leases, done = done, dead = dead, cancelled = cancelled })[place]
local size = redis.call("ZCARD", set)
local from = 0
if score ~= "" then
  local low, high = 0, size -- the first rank that comes after (score, id) in descending order
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member, at = unpack(redis.call("ZRANGE", set, middle, middle, "REV", "WITHSCORES"))
    if tonumber(at) > tonumber(score) or (at == score and member >= id) then
      low = middle + 1
    else
      high = middle
    end
  end
  from = low
end
answer = { size }
if limit > 0 then
  local entries = redis.call("ZRANGE", set, from, from + limit - 1, "REV", "WITHSCORES")
  for i = 1, #entries, 2 do show(entries[i], entries[i + 1]) end
end
return answer
