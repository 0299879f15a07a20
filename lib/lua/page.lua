#!lua flags=no-writes
--[[ page: list tasks queue by queue, in each queue place by place, without payloads that have their own keys.
  arguments  queues: names, separated by spaces, as for queue-states; places: separated by spaces: a zset ("due" | "leases" |
             "done" | "dead" | "cancelled"), listed from the highest score down, or a priority, the ready list from its head;
             limit: how many entries; bytes: how many of task texts, exceeded by one text at most, so that one call answers
             at least one entry; place, score, id: the last entry of the previous page, which is in the first queue ("" for
             the first page); in a list the score is the index
  answers    {now, more (1: it stopped at a limit), {queue, place, {score, id, text | false}, ...}, ...}
             false: a stale id whose task was deleted
  cost       O(limit + queues × places); in the place of the previous page O(log² N) for a zset and O(index) for a list
             whose head has moved, 14 ns per index
  invariant  what stays in its place during a listing is listed, even if the last entry of a page has left or others have
             come or gone ]]
local queues, places, limit, bytes, place, score, id = unpack(ARGV)
local MAX_RETURNED = 1000 -- tasks that may return to the head of a list between two pages

-- Ids leave a list only at its head, in order. So an id that is no longer found has left with all before it.
local function index_after(list)
  if redis.call("LINDEX", list, score) == id then return score + 1 end
  local index = redis.call("LPOS", list, id, "MAXLEN", score + MAX_RETURNED)
  return index and index + 1 or 0
end

-- The first rank that comes after (score, id) in descending order.
local function rank_after(set)
  local low, high = 0, redis.call("ZCARD", set)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member, at = unpack(redis.call("ZRANGE", set, middle, middle, "REV", "WITHSCORES"))
    if tonumber(at) > tonumber(score) or (tonumber(at) == score and member >= id) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The next entries of the place as id, score, id, score, ...
local function entries_of(name)
  local set = ({ due = due, leases = leases, done = done, dead = dead, cancelled = cancelled })[name]
  if set then
    local from = score == "" and 0 or rank_after(set)
    return redis.call("ZRANGE", set, from, from + limit - 1, "REV", "WITHSCORES")
  end
  local list = ready .. name
  local from = score == "" and 0 or index_after(list)
  local entries = {}
  for i, entry in ipairs(redis.call("LRANGE", list, from, from + limit - 1)) do
    entries[2 * i - 1], entries[2 * i] = entry, int(from + i - 1)
  end
  return entries
end

local answer = { now, 0 }
limit, bytes, score = tonumber(limit), tonumber(bytes), tonumber(score) or ""
for queue in string.gmatch(queues, "%S+") do
  use_queue(queue)
  for name in string.gmatch(places, "%S+") do
    if place == "" or place == name then
      local part, entries = { queue, name }, entries_of(name)
      place, score, id = "", "", ""
      for i = 1, #entries, 2 do
        local text = redis.call("GET", task .. entries[i])
        part[#part + 1] = { entries[i + 1], entries[i], text }
        limit, bytes = limit - 1, bytes - (text and #text or 0)
        if limit == 0 or bytes <= 0 then break end
      end
      if #part > 2 then answer[#answer + 1] = part end
      if limit == 0 or bytes <= 0 then
        answer[2] = 1
        return answer
      end
    end
  end
end
return answer
