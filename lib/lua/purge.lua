#!lua flags=allow-oom
--[[ purge: delete the first tasks of one place. Those that somebody works on are in none of these.
  arguments  place: "due" | "done" | "dead" | "cancelled", or a priority: its ready list; limit: entries at most
  answers    {looked (how many entries were taken out), purged (how many tasks went with them)}
  cost       O(limit log N)
  invariant  what belongs to a task goes with it: payload, unique key, bytes, its time to expire ]]
local place, limit = unpack(ARGV)

local SETS = { due = due, done = done, dead = dead, cancelled = cancelled }
local PLACES = { scheduled = "due", retrying = "due", done = "done", dead = "dead", cancelled = "cancelled" }

local set = SETS[place]
local ids = set and redis.call("ZRANGE", set, 0, limit - 1) or redis.call("LPOP", ready .. place, limit) or {}
load(ids)
local purged = 0
for _, id in ipairs(ids) do
  if set then leave(set, id) end
  local t = open(id)
  if t and (PLACES[t.state] or t.state == "queued" and read_policy(t.policy).priority) == place then
    delete_task(t)
    purged = purged + 1
  end
end
commit()
return { #ids, purged }
