#!lua flags=allow-oom
--[[ purge: delete the first tasks of one place. Leased tasks are in none of these places.
  arguments  place: "due" | "done" | "dead" | "cancelled", or the priority of a ready list; limit: how many entries
  answers    {how many entries were removed, how many tasks were deleted with them}
  cost       O(limit log N)
  invariant  deletes with each task its payload, unique key, byte count and expiry ]]
local place, limit = unpack(ARGV)

local HEADER_BYTES = 32 -- state and finished
local SETS = { due = due, done = done, dead = dead, cancelled = cancelled }
local PLACES = { scheduled = "due", retrying = "due", done = "done", dead = "dead", cancelled = "cancelled" }

local set = SETS[place]
local ids = set and redis.call("ZRANGE", set, 0, limit - 1) or redis.call("LPOP", ready .. place, limit) or {}
local purged = 0
for _, id in ipairs(ids) do
  if set then leave(set, id) end
  -- The text of an ended task is not needed, and may contain a large result.
  local header = redis.call("GETRANGE", task .. id, 0, HEADER_BYTES - 1)
  local t = find(header, HAS_ENDED) and { id = id, state = match(header, STATE) } or open(id)
  if t and (PLACES[t.state] or t.state == "queued" and read_policy(t.policy).priority) == place then
    delete_task(t)
    purged = purged + 1
  end
end
commit()
return { #ids, purged }
