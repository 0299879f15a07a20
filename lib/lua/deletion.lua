--[[ deletion: how tasks are deleted: one task, or up to `limit` that are past their retention or too many; and how the
  ids of cancelled, expired and deleted tasks leave the ready lists. ]]
-- Deletes a waiting or ended task with its payload. The caller has removed it from its place.
local function delete_task(t)
  if t.finished == "0" then
    leave(expiring, t.id)
    release_claims(t)
  elseif t.policy and read_policy(t.policy).group then
    open_groups().leave(read_policy(t.policy).group, t.id)
  end
  redis.call("UNLINK", task .. t.id, payload .. t.id)
  opened[t.id] = false
end

-- Deletes tasks up to this score, or else those above `most`, the lowest score first.
local function trim(set, score, most, limit)
  local ids = redis.call("ZRANGE", set, "-inf", score, "BYSCORE", "LIMIT", 0, limit)
  local excess = redis.call("ZCARD", set) - most
  if #ids < limit and excess > #ids then ids = redis.call("ZRANGE", set, 0, math.min(excess, limit) - 1) end
  local keys = {}
  -- A dead task may hold the slot of its group, see groups.lua.
  local frees_slots = set == dead and #ids > 0 and open_groups().are_limited()
  if frees_slots then load(ids) end
  for _, id in ipairs(ids) do
    leave(set, id)
    local t = frees_slots and open(id)
    local group = t and read_policy(t.policy).group
    if group then groups.leave(group, id) end
    keys[#keys + 1] = task .. id
    keys[#keys + 1] = payload .. id
  end
  in_chunks("UNLINK", keys)
  return #ids
end

-- The same for `completed`. Does not delete a task that is not done: entries of such tasks are stray.
local function trim_completed(ended, most, limit)
  local excess = redis.call("LLEN", completed) - most
  local oldest = redis.call("LINDEX", completed, 0)
  if not oldest or excess <= 0 and done_at(oldest) > ended then return 0 end
  local keys, count = {}, 0
  for _, id in ipairs(redis.call("LRANGE", completed, 0, limit - 1)) do
    local at = done_at(id)
    if at > ended and count >= excess then break end
    count = count + 1
    if at > 0 then
      keys[#keys + 1] = task .. id
      keys[#keys + 1] = payload .. id
    end
  end
  redis.call("LPOP", completed, count)
  in_chunks("UNLINK", keys)
  return count
end

local MAX_DROPPED = 300 -- stale ids per call

-- Drops stale ids, those whose tasks are not queued, from the heads of the ready lists and of the groups whose turn is there. So
-- a queue in which nothing waits looks empty, even if no worker polls it. Stale ids behind a queued task stay. Returns how many it
-- dropped, and 1 if it found a queued task at a head, otherwise 0. After MAX_DROPPED ids it stops looking.
local function drop_stale()
  local dropped, waiting = 0, 0
  for place = 0, 9 do
    local priority = int(place)
    while dropped < MAX_DROPPED do
      local entry = redis.call("LINDEX", ready .. priority, 0)
      if not entry then break end
      local group = byte(entry) == TURN and sub(entry, 2)
      local id = group and open_groups().first(priority, group) or entry
      if state_of(id) == "queued" then
        waiting = 1
        break
      end
      local is_empty = not group or select(2, groups.drain(priority .. group, 1))
      if is_empty then redis.call("LPOP", ready .. priority) end
      if group and is_empty then groups.drop_turn(priority) end
      dropped = dropped + 1
    end
  end
  commit()
  return dropped, waiting
end
