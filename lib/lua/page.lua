#!lua flags=no-writes
--[[ page: list one page of the tasks in one place: a zset from the highest score down, or a ready list from its head.
  arguments  place: "due" | "leases" | "done" | "dead" | "cancelled", or a priority; limit; score, id: the last entry of the
             previous page ("" for the first page); for a list the score is the index; bare: 1 omits payloads that have
             their own keys
  answers    {size, {score, id, raw task | false}, ...}   false: a stale id whose task was deleted
  cost       O(log² N + limit) for a zset; O(index + limit) for a list
  invariant  a page of a zset continues where the previous one ended, even if that entry has left or new ones arrived ]]
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
