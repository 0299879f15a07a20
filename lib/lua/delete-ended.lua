#!lua flags=allow-oom
--[[ delete-ended: delete tasks that have ended before their retention is over.
  arguments  states: of the tasks that are deleted, separated by spaces: any of `done`, `dead` and `cancelled`; before: tasks that
             ended later than this time are kept ("" for any time); then for each: id
  answers    for each {code, attempt, now}: "deleted" | "kept" (in another state, or it ended later) | "unknown"
  cost       O(n log E), E = ended tasks; with 100,000 done tasks, 3 ms for 200 that follow each other, 15 ms for 200 in any order
  invariant  never deletes a task in another state, even one that was in such a state a moment ago ]]
local states, before = unpack(ARGV)
local first, fields_each = 3, 1

local sets = {}
for state in string.gmatch(states, "%S+") do sets[state] = set_of(state) end
before = tonumber(before) or math.huge

-- Where the done tasks are in `completed`, from the newest, before any record is deleted: a search needs the records.
local rank_of, rank = {}, 0
for i = first, #ARGV, fields_each do
  local id = ARGV[i]
  local t = open(id)
  if t and t.state == "done" and sets.done then
    -- In a listing the next task follows this one.
    if redis.call("LINDEX", completed, -rank - 1) ~= id then rank = rank_in_completed(t.finished, id) - 1 end
    if redis.call("LINDEX", completed, -rank - 1) == id then rank_of[id] = rank end
    rank = rank + 1
  end
end

-- Deleted entries become equal texts, so that one scan removes all of them, from the end that is nearer.
local REMOVED = "="
local removed, lowest, highest = 0, math.huge, 0
local function remove_completed(rank)
  redis.call("LSET", completed, -rank - 1, REMOVED)
  removed, lowest, highest = removed + 1, math.min(lowest, rank), math.max(highest, rank)
end

local answers = {}
for i = first, #ARGV, fields_each do
  local id = ARGV[i]
  local t = open(id)
  local code = t and "kept" or "unknown"
  if t and sets[t.state] and tonumber(t.finished) <= before then
    code = "deleted"
    if rank_of[id] then
      remove_completed(rank_of[id])
    else
      leave(sets[t.state], id)
    end
    delete_task(t)
  end
  answers[#answers + 1] = { code, t and attempt_of(t.lease) or 0, now }
end
if removed > 0 then
  local is_near_tail = highest < redis.call("LLEN", completed) - lowest
  redis.call("LREM", completed, is_near_tail and -removed or removed, REMOVED)
end
commit()
publish(0) -- a group may have waited for a deleted task
return answers
