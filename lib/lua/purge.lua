#!lua flags=allow-oom
--[[ purge: delete the first tasks of one place. Leased tasks are in none of these places.
  arguments  place: "due" | "done" | "dead" | "cancelled", the priority of a ready list, or "held" for the tasks of held
             groups; limit: how many entries
  answers    {how many entries were removed, how many tasks were deleted with them}
  cost       O(limit log N)
  invariant  deletes with each task its payload, unique key, byte count and expiry ]]
local place, limit = unpack(ARGV)

local HEADER_BYTES = 32 -- state and finished
local SETS = { due = due, done = done, dead = dead, cancelled = cancelled }
local PLACES = { scheduled = "due", retrying = "due", done = "done", dead = "dead", cancelled = "cancelled" }

local set = SETS[place]
local looked, purged = 0, 0
limit = tonumber(limit)

local function delete_listed(ids)
  load(ids)
  for _, id in ipairs(ids) do
    local t = open(id)
    if t and t.state == "queued" then
      delete_task(t)
      purged = purged + 1
    end
  end
  looked = looked + #ids
end

-- Deletes tasks of an entry. Returns whether its turn is needed no more.
local function purge_entry(entry)
  local ids, is_empty = open_groups().drain(entry, limit - looked)
  delete_listed(ids)
  if #ids == 0 then looked = looked + 1 end -- a turn without tasks
  return is_empty
end

if set then
  -- A dead task may hold the slot of its group, see groups.lua.
  local frees_slots = place == "dead" and open_groups().are_limited()
  local ids = place == "done" and redis.call("LPOP", completed, limit) or {}
  for _, id in ipairs(redis.call("ZRANGE", set, 0, limit - 1)) do
    if #ids == limit then break end
    ids[#ids + 1] = id
    leave(set, id)
  end
  for _, id in ipairs(ids) do
    -- The text of an ended task is otherwise not needed, and may contain a large result.
    local header = not frees_slots and redis.call("GETRANGE", task .. id, 0, HEADER_BYTES - 1) or ""
    local t = find(header, HAS_ENDED) and { id = id, state = match(header, STATE) } or open(id)
    if t and PLACES[t.state] == place then
      delete_task(t)
      purged = purged + 1
    end
  end
  looked = #ids
elseif place == "held" then
  for _, entry in ipairs(open_groups().held(limit)) do
    if looked < limit and purge_entry(entry) then leave(expiring, "=" .. entry) end
  end
else
  local ids, turns = {}, {}
  for _, id in ipairs(redis.call("LPOP", ready .. place, limit) or {}) do
    local values = byte(id) == TURN and turns or ids
    values[#values + 1] = id
  end
  delete_listed(ids)
  for _, turn in ipairs(turns) do
    local name = sub(turn, 2)
    open_groups().drop_turn(place)
    if looked == limit or not purge_entry(place .. name) then groups.return_turn(place, name) end
  end
end
commit()
publish(0)
return { looked, purged }
