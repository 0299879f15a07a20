#!lua flags=no-writes
--[[ page: list tasks queue by queue, in each queue place by place, without payloads that have their own keys.
  arguments  queues: names, separated by spaces, as for queue-states; places: separated by spaces: a zset: "due", listed from
             the lowest score up, "leases", "done", "dead" or "cancelled", from the highest down; or "completed", from the
             newest down; or a priority, the ready list from its head, without the turns of groups, "grouped", the lists of
             groups, the longest first, or "firsts", the first ids of groups; limit: how many entries; bytes: how many of task
             texts, exceeded by one text at most, so that one call answers at least one entry; part: a text in lower case that
             ids contain, "" for any; place, score, id: the last entry of the previous page, which is in the first queue ("" for
             the first page); in a list the score is the index, in "firsts" the cursor of HSCAN
  answers    {now, more (1: it stopped at a limit), {queue, place, {score, id, text | false}, ...}, ...}
             false: a stale id whose task was deleted, or an id without `part`
  cost       O(limit + queues × places); in the place of the previous page O(log² N) for a zset, O(N / 100) for "completed" and
             O(index) for a list whose head has moved, 14 ns per index
  invariant  what stays in its place during a listing is listed, even if the last entry of a page has left or others have
             come or gone. Only the first tasks of a few groups may be missing if most of these groups leave between two pages ]]
local queues, places, limit, bytes, part, place, score, id = unpack(ARGV)
local MAX_CHUNKS = 20 -- parts of `limit` entries of a ready list that one call reads, as turns are left out
local MAX_RETURNED = 1000 -- tasks that may return to the head of a list between two pages

-- Ids leave a list only at its head, in order. So if an id is no longer found, it and all ids before it have left.
local function index_after(list)
  if redis.call("LINDEX", list, score) == id then return score + 1 end
  local index = redis.call("LPOS", list, id, "MAXLEN", score + MAX_RETURNED)
  return index and index + 1 or 0
end

-- Adds up to `limit` ids of a list with their indexes. Returns how many entries it read.
local function add_listed(entries, list, from)
  local found = redis.call("LRANGE", list, from, from + limit - 1)
  for i, id in ipairs(found) do
    if byte(id) ~= TURN then
      entries[#entries + 1] = id
      entries[#entries + 1] = int(from + i - 1)
    end
  end
  return #found
end

-- Adds ids of the lists of groups. If the last task of the previous page has left, or the backlogs have changed their order,
-- tasks may be listed twice or not at all.
local function add_grouped(entries)
  local policy = score ~= "" and open(id) and read_policy(open(id).policy)
  local rank = policy and policy.group and open_groups().rank(policy.group, policy.priority)
  local from = rank and index_after(open_groups().list(policy.group, policy.priority)) or 0
  rank = rank or 0
  while #entries < 2 * limit do
    local list = open_groups().list_at(rank)
    if not list then break end
    add_listed(entries, list, from)
    rank, from = rank + 1, 0
  end
end

-- Adds first ids of groups, in the batches and with the cursors of HSCAN: each batch in order, after the last task of the
-- previous page, even if that has left.
local function add_firsts(entries)
  local cursor, last = score == "" and 0 or score, id
  repeat
    local _, ids, next_cursor = open_groups().with_first(int(cursor))
    table.sort(ids, function(a, b) return is_after(b, a) end)
    for _, found in ipairs(ids) do
      if last == "" or is_after(found, last) then
        entries[#entries + 1] = found
        entries[#entries + 1] = int(cursor)
      end
    end
    cursor, last = tonumber(next_cursor), ""
  until cursor == 0 or #entries >= 2 * limit
end

-- The next entries of the place as id, score, id, score, ...
local function entries_of(name)
  local set = set_of(name)
  if set then
    local is_ascending = name == "due"
    local from = score == "" and 0 or rank_after(set, int(score), id, is_ascending)
    if is_ascending then return redis.call("ZRANGE", set, from, from + limit - 1, "WITHSCORES") end
    return redis.call("ZRANGE", set, from, from + limit - 1, "REV", "WITHSCORES")
  end
  if name == "completed" then return completed_from(score == "" and 0 or rank_in_completed(score, id), limit) end
  local entries = {}
  if name == "grouped" then
    add_grouped(entries)
    return entries
  end
  if name == "firsts" then
    add_firsts(entries)
    return entries
  end
  local from = score == "" and 0 or index_after(ready .. name)
  for _ = 1, MAX_CHUNKS do
    local count = add_listed(entries, ready .. name, from)
    if count < limit or #entries >= 2 * limit then break end
    from = from + limit
  end
  return entries
end

local answer = { now, 0 }
limit, bytes, score = tonumber(limit), tonumber(bytes), tonumber(score) or ""
for queue in string.gmatch(queues, "%S+") do
  use_queue(queue)
  for name in string.gmatch(places, "%S+") do
    if place == "" or place == name then
      local found, entries = { queue, name }, entries_of(name)
      place, score, id = "", "", ""
      for i = 1, #entries, 2 do
        local has_part = part == "" or find(string.lower(entries[i]), part, 1, true)
        local text = has_part and redis.call("GET", task .. entries[i])
        found[#found + 1] = { entries[i + 1], entries[i], text or false }
        limit, bytes = limit - 1, bytes - (text and #text or 0)
        if limit == 0 or bytes <= 0 then break end
      end
      if #found > 2 then answer[#answer + 1] = found end
      if limit == 0 or bytes <= 0 then
        answer[2] = 1
        return answer
      end
    end
  end
end
return answer
