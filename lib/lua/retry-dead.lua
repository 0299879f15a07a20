#!lua flags=allow-oom
--[[ retry-dead: requeue dead tasks with all budgets at 0.
  arguments  before: a task that died later than this (ms; "": at any time) stays dead, so a repeated call does not retry one
             that has died again; then for each: id; inline, large: a new payload, within the task's text or under its own
             key; both "": keep the payload
  answers    for each {code, attempt, now}: "requeued" | "not_dead" | "newer" (it died later) | "duplicate" (another task
             holds the unique key now)
  cost       O(n log D), D = dead tasks
  invariant  attempt numbers continue, so a lease from before the task died stays lost ]]
local before = ARGV[1]
local first, fields_each = 2, 3

local answers = {}
for i = first, #ARGV, fields_each do
  local id, inline, large = unpack(ARGV, i, i + fields_each - 1)
  local t = open(id)
  local code = "not_dead"
  if t and t.state == "dead" and before ~= "" and tonumber(t.finished) > tonumber(before) then
    code = "newer"
  elseif t and t.state == "dead" then
    local key = extras(t).unique
    local holder = key and redis.call("GET", unique .. key)
    if holder and holder ~= id then
      code = "duplicate"
    else
      code = "requeued"
      leave(dead, id)
      local policy = read_policy(t.policy)
      local group = policy.group
      -- In strict order, a dead task that blocks its group is the next one.
      make_ready(id, policy.priority, group and open_groups().has_slot(group, id), group)
      if key then redis.call("SET", unique .. key, id) end
      t.policy = with_expiry(t.policy, "0") -- the expiry of the submit no longer applies
      t.state, t.finished, t.retries, t.crashes, t.releases = "queued", "0", "0", "0", "0"
      extras(t).reason, extras(t).cancel, extras(t).watched = nil, nil, nil
      if inline ~= "" or large ~= "" then replace_type_and_payload(t, match(type_and_payload(t), "^[^\n]*\n") .. inline, large) end
      if max_bytes > 0 then add_bytes(size_of(id, t.rest)) end
      save(t)
    end
  end
  answers[#answers + 1] = { code, t and attempt_of(t.lease) or 0, now }
end
commit()
publish(0)
return answers
