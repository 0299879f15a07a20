#!lua
--[[ change: give waiting tasks another payload, priority, start time or labels.
  for each   id; inline, large: a new payload, within the task's text or under its own key; both "": keep the payload;
             priority ("": keep it); when: the task becomes ready then, "+ms" from now or a time ("": keep its time);
             members: "" keeps the members for the worker, otherwise `=` and their new text; known: their text as the
             caller read it
  answers    for each {code, attempt, now}; all codes but "changed" mean that nothing was changed:
             "changed"
             "not_waiting"    it is leased or has ended
             "stale"          the members for the worker are neither `known` nor the new ones
             "expires"        it would become ready after its expiry
             "full_bytes"     the queue has no room for the larger payload
             "unknown"        no such task
  cost       O(n log D), D = delayed tasks; O(1,000) for a queued task that is delayed or gets another priority
  invariant  a task that stays queued keeps its place, unless its priority changes: then it goes to the tail ]]
local first, fields_each = 1, 7

local function change(t, inline, large, priority, when, members, known)
  if not t then return "unknown" end
  if not is_waiting(t.state) then return "not_waiting" end
  local found = extras(t).extra or ""
  if members ~= "" and found ~= known and "=" .. found ~= members then return "stale" end
  local before = read_policy(t.policy)
  local starts = start_of(when)
  if before.expires > 0 and starts > math.max(now, before.expires) then return "expires" end
  if inline ~= "" or large ~= "" then
    local text = match(type_and_payload(t), "^[^\n]*\n") .. inline
    if not replace_body(t, text, large) then return "full_bytes" end
  end

  if members ~= "" then extras(t).extra = #members > 1 and sub(members, 2) or nil end
  if priority ~= "" then t.policy = with_priority(t.policy, priority) end
  local after = read_policy(t.policy)
  if t.state == "queued" then
    if starts > now then
      withdraw(before, t.id)
      t.state = t.lease == "0" and "scheduled" or "retrying"
      join(due, starts, t.id)
    elseif after.priority ~= before.priority then
      move_queued(t.id, before, after)
    end
  elseif starts > now then
    join(due, starts, t.id)
  elseif when ~= "" then
    leave(due, t.id)
    t.state = "queued"
    make_ready(t.id, after.priority, after.group and open_groups().has_slot(after.group, t.id), after.group)
  end
  save(t)
  return "changed"
end

local answers = {}
for i = first, #ARGV, fields_each do
  local id, inline, large, priority, when, members, known = unpack(ARGV, i, i + fields_each - 1)
  local t = open(id)
  local code = change(t, inline, large, priority, when, members, known)
  commit() -- the next item may be about the same task or list
  answers[#answers + 1] = { code, t and attempt_of(t.lease) or 0, now }
end
publish(0)
return answers
