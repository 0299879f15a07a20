#!lua flags=no-writes
--[[ group-states: how many tasks of groups wait and run, and why a group is held. Lists first the groups with waiting tasks,
  the longest list first, then the other groups that have slots, then those that only have limits of their own.
  arguments  part: "waiting" | "busy" | "overrides", or "one" for one group; score, name: the last entry of the previous page
             in this part, or the name of the one group ("" for the first page): a group, in "waiting" after its priority, in
             "overrides" a cursor of HSCAN; limit: how many entries
  answers    {now, score, name, {group, waiting, processing, oldest (ms since which the first of its tasks waits; 0: none),
             overrides (as JSON; "" none), cause (why no task may be leased; "" one may), until (ms; 0: an event ends it),
             task ids that have the slots}, ...}
             score, name: of the next page of this part; both "" if it has no more
  cost       O(limit log N)
  invariant  a group is in one part only; in "waiting" once, at its longest list ]]
local part, score, name, limit = unpack(ARGV)
limit = tonumber(limit)

local MAX_IDS = 10
open_groups().is_reading = true

local function describe(group)
  local sizes, waiting, longest, priority, oldest = groups.sizes(group), 0, 0, 5, nil
  for p = 9, 0, -1 do
    local size = sizes[p]
    waiting = waiting + size
    if size > longest then longest, priority = size, p end
    local since = size > 0 and waiting_in(groups.list(group, p), p)
    if since then oldest = math.min(oldest or since, since) end
  end
  local cause, later, _, ids = groups.held_because(group, priority, MAX_IDS)
  if waiting == 0 and cause ~= "paused" and cause ~= "asked" then cause = nil end
  local overrides = groups.read_override(group) or ""
  return { group, waiting, groups.slot_count(group), oldest or 0, overrides, cause or "", cause and later or 0, cause and ids or {} },
    priority
end

local answer = { now, "", "" }
if part == "one" then
  answer[4] = describe(name)
elseif part == "waiting" then
  local entries = groups.entries_after(score, name, limit)
  for i = 1, #entries, 2 do
    local entry = entries[i]
    local state, priority = describe(sub(entry, 2))
    if sub(entry, 1, 1) == tostring(priority) then answer[#answer + 1] = state end
  end
  if #entries == 2 * limit then answer[2], answer[3] = entries[#entries], entries[#entries - 1] end
elseif part == "busy" then
  for _ = 1, limit do
    name = groups.next_busy(name)
    if not name then break end
    if groups.waiting(name) == 0 then answer[#answer + 1] = describe(name) end
  end
  answer[3] = name or ""
else
  local next_cursor, names = groups.overridden(name == "" and "0" or name, limit)
  for _, group in ipairs(names) do
    if groups.waiting(group) == 0 and groups.slot_count(group) == 0 then answer[#answer + 1] = describe(group) end
  end
  answer[3] = next_cursor ~= "0" and next_cursor or ""
end
return answer
