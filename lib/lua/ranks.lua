--[[ ranks: where a listing of a sorted set continues. ]]

-- By bytes, as in sorted sets. The comparison of Lua depends on the locale of the server.
local function is_after(a, b)
  for i = 1, #a do
    local left, right = byte(a, i), byte(b, i)
    if left ~= right then return not right or left > right end
  end
  return false
end

-- The sorted set of a place of tasks; nil if the place is a list or an entry of groups.
local function set_of(place)
  return ({ due = due, leases = leases, done = done, dead = dead, cancelled = cancelled })[place]
end

-- The lowest number from `low` on that does not come before the place that is searched for, below `high`; `high` if all do.
local function search(low, high, is_before)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(middle) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

local MAX_STRAYS = 1000 -- how many entries without a done task are passed over to find a time

-- Entries of `completed`, the newest first, as ZRANGE with REV answers those of a set: id, time of its end, ... A stray entry,
-- whose task is gone, gets the time of the entry before it, so that a page can end with it.
local function completed_from(from, count)
  local ids, entries = redis.call("LRANGE", completed, -from - count, -from - 1), {}
  if not ids[1] then return entries end
  local ended, before = done_at(ids[#ids]), from
  while ended == 0 and before > math.max(0, from - MAX_STRAYS) do
    ended = done_at(redis.call("LINDEX", completed, -before))
    before = before - 1
  end
  if ended == 0 then ended = now end
  for i = #ids, 1, -1 do
    local own = done_at(ids[i])
    if own > 0 then ended = own end
    entries[#entries + 1] = ids[i]
    entries[#entries + 1] = int(ended)
  end
  return entries
end

-- As rank_after, for `completed`. Tasks that ended in the same millisecond are in the order in which they were added. If the
-- member has left, those of its millisecond may be listed again.
local function rank_in_completed(ended, member)
  local low, high = 0, redis.call("LLEN", completed)
  local function entry(rank) return redis.call("LINDEX", completed, -1 - rank) end
  ended = tonumber(ended)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at = done_at(entry(middle))
    local last = math.min(high - 1, middle + MAX_STRAYS)
    while at == 0 and middle < last do
      middle = middle + 1
      at = done_at(entry(middle))
    end
    if at > ended or (at == ended and member == false) then
      low = middle + 1
    else
      high = math.min(middle, math.floor((low + high) / 2))
    end
  end
  if not member or member == "" then return low end
  local rank = low
  local id = entry(rank)
  while id and id ~= member and (done_at(id) == ended or done_at(id) == 0) do
    rank = rank + 1
    id = entry(rank)
  end
  return id == member and rank + 1 or low
end

-- How many entries of the set come before (score, member) or are it, in the order of the listing. `member` may be "", before
-- all entries of this score, or false, after all of them.
local function rank_after(set, score, member, is_ascending)
  local first, last = "-inf", "(" .. score
  if not is_ascending then first, last = "(" .. score, "+inf" end
  local low = redis.call("ZCOUNT", set, first, last)
  if member == "" then return low end
  local high = low + redis.call("ZCOUNT", set, score, score)
  if not member then return high end
  return search(low, high, function(rank)
    local found
    if is_ascending then
      found = redis.call("ZRANGE", set, rank, rank)[1]
    else
      found = redis.call("ZRANGE", set, rank, rank, "REV")[1]
    end
    return found == member or is_after(found, member) ~= is_ascending
  end)
end
