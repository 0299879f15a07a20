#!lua flags=no-writes
--[[ group-states: how many tasks of groups wait and run, and why a group is held. Lists first the groups with several waiting
  tasks, the longest list first, then those with one, then the other groups that have slots, then those that only have limits
  of their own.
  arguments  part: "waiting" | "firsts" | "busy" | "overrides", or "one" for one group; score, name: the last entry of the previous
             page in this part, or the name of the one group ("" for the first page): a group, in "waiting" and "firsts" after its
             priority; score: in "firsts" and "overrides" the cursor of HSCAN at which `name` was found; limit: how many entries
  answers    {now, score, name, {group, waiting, processing, oldest (ms since which the first of its tasks waits; 0: none),
             overrides (as JSON; "" none), cause (why no task may be leased; "" one may), until (ms; 0: an event ends it),
             task ids that have the slots}, ...}
             score, name: of the next page of this part; both "" if it has no more
  cost       O(limit log N)
  invariant  a group is in one part only; in "waiting" or "firsts" once, at the priority with the most tasks. A group that moves to
             a part that was listed before is not listed ]]
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
    local since = size > 0 and (waiting_as(groups.first(p, group), p) or waiting_in(groups.list(group, p), p))
    if since then oldest = math.min(oldest or since, since) end
  end
  local cause, later, _, ids = groups.held_because(group, priority, MAX_IDS)
  if waiting == 0 and cause ~= "paused" and cause ~= "asked" then cause = nil end
  local overrides = groups.read_override(group) or ""
  local held = { cause or "", cause and later or 0, cause and ids or {} }
  return { group, waiting, groups.slot_count(group), oldest or 0, overrides, unpack(held) }, priority
end

local answer = { now, "", "" }

-- Names of a hash that HSCAN reads in batches: in the batch at the cursor `score`, in order, the next ones after `name`, even
-- if that has left; then those of the next batches.
local function next_of(read)
  local cursor, last, names = score == "" and "0" or score, name, {}
  repeat
    local found, _, next_cursor = read(cursor)
    table.sort(found, function(a, b) return is_after(b, a) end)
    for _, one in ipairs(found) do
      if last == "" or is_after(one, last) then
        if #names == limit then return names end
        names[#names + 1] = one
        answer[2], answer[3] = cursor, one
      end
    end
    cursor, last = next_cursor, ""
  until cursor == "0"
  answer[2], answer[3] = "", ""
  return names
end

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
elseif part == "firsts" then
  for _, entry in ipairs(next_of(groups.with_first)) do
    local state, priority = describe(sub(entry, 2))
    local has_list = redis.call("EXISTS", groups.list(sub(entry, 2), priority)) == 1
    if sub(entry, 1, 1) == tostring(priority) and not has_list then answer[#answer + 1] = state end
  end
elseif part == "busy" then
  for _ = 1, limit do
    name = groups.next_busy(name)
    if not name then break end
    if groups.waiting(name) == 0 then answer[#answer + 1] = describe(name) end
  end
  answer[3] = name or ""
else
  for _, group in ipairs(next_of(groups.overridden)) do
    if groups.waiting(group) == 0 and groups.slot_count(group) == 0 then answer[#answer + 1] = describe(group) end
  end
end
return answer
