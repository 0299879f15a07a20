--[[ ranks: where a listing of a sorted set continues. ]]

-- By bytes, as in sorted sets. The comparison of Lua depends on the locale of the server.
local function is_after(a, b)
  for i = 1, #a do
    local left, right = byte(a, i), byte(b, i)
    if left ~= right then return not right or left > right end
  end
  return false
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
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found
    if is_ascending then
      found = redis.call("ZRANGE", set, middle, middle)[1]
    else
      found = redis.call("ZRANGE", set, middle, middle, "REV")[1]
    end
    if found == member or is_after(found, member) ~= is_ascending then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
