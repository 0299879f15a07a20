--[[ create: how a task is created. ]]
local function set_payload(id, large)
  if large ~= "" then redis.call("SET", payload .. id, large) end
end

-- For how many tasks and bytes the queue has room. Stale ids in ready lists take up room, too.
local function room_of_queue()
  local depth, bytes = math.huge, math.huge
  if max_depth > 0 then
    depth = max_depth - redis.call("ZCARD", due)
    for priority = 0, 9 do depth = depth - redis.call("LLEN", ready .. priority) - grouped_in(priority) end
  end
  if max_bytes > 0 then bytes = max_bytes - math.max(0, tonumber(redis.call("HGET", stats, "bytes") or 0)) end
  return depth, bytes
end
local free_depth, free_bytes = room_of_queue()

local function size_of_new(body, large) return size_of_body(body) + #large end

-- For how many tasks a group has room. Stale ids in its lists take up room, too.
local free_in_group = {}
local function free_of(group)
  if not free_in_group[group] then
    local most = open_groups().are_limited() and groups.limits(group).max_waiting
    free_in_group[group] = most and most - groups.waiting(group) or math.huge
  end
  return free_in_group[group]
end

-- Reserves room, or returns what is full. by_group: how many of the tasks each group has.
local function take_room(depth, bytes, by_group)
  if depth > free_depth then return "full_depth" end
  if bytes > free_bytes then return "full_bytes" end
  if next(by_group) and not open_groups().are_limited() then by_group = {} end
  for group, count in pairs(by_group) do
    if count > free_of(group) then return "full_group" end
  end
  free_depth, free_bytes = free_depth - depth, free_bytes - bytes
  for group, count in pairs(by_group) do free_in_group[group] = free_in_group[group] - count end
end

-- When a task becomes ready: "+ms" from now, or a time; "": at once.
local function start_of(when)
  local after = match(when, "^%+(%d+)$")
  return after and now + after or tonumber(when) or 0
end

-- The time to live of an item starts now, by the clock of Redis.
local function set_expiry(t, options)
  if not options.expires then return end
  local expires = now + options.expires
  t.policy = with_expiry(t.policy, int(expires))
  join(expiring, expires, t.id)
end

local MAX_SEARCHED = 1000 -- entries of a ready list

-- Removes a queued task from its ready list if it is among the last ones. An entry that remains is dropped when it comes
-- to the head, as that of a cancelled task is. The last entry of a group stays, because the turn of the group needs one.
local function withdraw(policy, id)
  local group, priority = policy.group, policy.priority
  local list = group and open_groups().list(group, priority) or ready .. priority
  if group and groups.size(priority .. group) == 1 then return end
  if redis.call("LPOS", list, id, "RANK", -1, "MAXLEN", MAX_SEARCHED) then
    redis.call("LREM", list, -1, id)
    if group then groups.withdrew(group, priority) end
  elseif group then
    groups.withdraw_first(group, priority, id)
  end
end

-- Moves a queued task to the list of another priority or group: to its tail, unless it keeps the slot of its group.
local function move_queued(id, before, after)
  withdraw(before, id)
  local keeps_slot = after.group and before.group == after.group and open_groups().has_slot(after.group, id)
  make_ready(id, after.priority, keeps_slot, after.group)
end

-- Gives a waiting task this type and payload. Returns false, having changed nothing, if the queue has no room for them.
local function replace_body(t, text, large)
  if max_bytes > 0 then
    local growth = #text + #large - size_of(t.id, type_and_payload(t))
    if growth > math.max(0, free_bytes) then return false end
    free_bytes = free_bytes - growth
    add_bytes(growth)
  end
  replace_type_and_payload(t, text, large)
  extras(t).checkpoint, extras(t).progress = nil, nil -- they belong to the old payload
  return true
end

-- A waiting task becomes what this item says: type, payload, policy and labels. It keeps its id, its place unless the
-- priority or group differs, its counters and its history.
local function replace(holder, body, large, starts, options)
  -- If this call has created or changed the task before: its entries must be written before some of them are removed.
  commit()
  local t = open(holder)
  if not is_waiting(t.state) then return "duplicate" end
  local policy, new_extras, text = parts_of_body(body)
  local before, after = read_policy(t.policy), read_policy(policy)
  local moves = after.group ~= before.group
  if moves and after.group and free_of(after.group) < 1 then return "full_group" end
  if not replace_body(t, text, large) then return "full_bytes" end
  if moves and after.group then free_in_group[after.group] = free_in_group[after.group] - 1 end
  if moves and before.group then open_groups().leave(before.group, holder) end
  t.policy = policy
  leave(expiring, holder)
  set_expiry(t, options)
  new_extras = read_extras(new_extras)
  extras(t).extra = new_extras.extra
  extras(t).redact = extras(t).redact or new_extras.redact -- the history may be about the old payload
  if t.state == "queued" and (moves or after.priority ~= before.priority) then move_queued(holder, before, after) end
  -- Debounce: a repeated delay starts again.
  if t.state == "scheduled" and starts > now then join(due, starts, holder) end
  save(t)
  return "replaced"
end

local function create(id, body, large, starts, options)
  set_payload(id, large)
  -- Most tasks need no table: a run of a schedule then takes 6.6 µs of Redis CPU instead of 9.0.
  if starts <= now and not options.unique and not options.expires then
    local policy = read_policy(policy_of_body(body))
    make_ready(id, policy.priority, false, policy.group)
    write(id, task .. id, NEW .. body)
    opened[id] = nil -- this call may have looked for the task before
    return "queued"
  end
  local t = parse(id, NEW .. body)
  opened[id] = t
  set_expiry(t, options)
  if options.unique then
    extras(t).unique = options.unique
    redis.call("SET", unique .. options.unique, id)
  end
  if starts > now then
    t.state = "scheduled"
    join(due, starts, id)
  else
    local policy = read_policy(t.policy)
    make_ready(id, policy.priority, false, policy.group)
  end
  save(t)
  return t.state
end

-- The options of an item, by name. The group is part of the policy line.
local function read_options(text) return (text == "" or byte(text) == TURN) and {} or cjson.decode(text) end

-- Creates a task, or says why not: the codes of submit.lua. ttl: ms that an idempotency record is kept.
local function submit(id, body, large, options, ttl)
  local known = options.key and redis.call("GET", record .. options.key)
  if known then
    local print, known_id, code = match(known, "^(%S+) (%S+) (%S+)")
    if print ~= options.print then return "conflict", id end
    return "replay_" .. code, known_id
  end
  if loaded[id] or opened[id] or redis.call("EXISTS", task .. id) == 1 then return "exists", id end
  local starts = start_of(options.when or "")
  local holder = options.unique and redis.call("GET", unique .. options.unique)
  if holder and not open(holder) then holder = nil end
  local code
  if not holder then
    local group = read_policy(policy_of_body(body)).group
    local full = take_room(1, size_of_new(body, large), group and { [group] = 1 } or {})
    if full then return full, id end
    code = create(id, body, large, starts, options)
    if max_bytes > 0 then add_bytes(size_of_new(body, large)) end
  elseif options.mode == "replace" then
    code = replace(holder, body, large, starts, options)
    if code == "full_bytes" or code == "full_group" then return code, id end
  else
    code = "duplicate"
  end
  local answered_id = holder or id
  if options.key then redis.call("SET", record .. options.key, options.print .. " " .. answered_id .. " " .. code, "PX", ttl) end
  return code, answered_id
end
