--[[ create: how a task is created. lib/redis/scripts.ts puts it before the scripts that create tasks. ]]
local function set_payload(id, large)
  if large ~= "" then redis.call("SET", payload .. id, large) end
end

-- For how many tasks and bytes the queue has room. Stale ids in ready lists take up room, too.
local free_depth, free_bytes = math.huge, math.huge
if max_depth > 0 then
  free_depth = max_depth - redis.call("ZCARD", due)
  for priority = 0, 9 do free_depth = free_depth - redis.call("LLEN", ready .. priority) end
end
if max_bytes > 0 then free_bytes = max_bytes - math.max(0, tonumber(redis.call("HGET", stats, "bytes") or 0)) end

local function size_of_new(body, large) return size_of_body(body) + #large end

-- Reserves room, or returns what is full.
local function take_room(depth, bytes)
  if depth > free_depth then return "full_depth" end
  if bytes > free_bytes then return "full_bytes" end
  free_depth, free_bytes = free_depth - depth, free_bytes - bytes
end

-- The time to live of an item starts now, by the clock of Redis.
local function set_expiry(t, asked)
  if not asked.expires then return end
  local expires = now + asked.expires
  t.policy = with_expiry(t.policy, int(expires))
  join(expiring, expires, t.id)
end

-- A waiting task becomes what this item says: type, payload, policy and labels. It keeps its id, its place unless the
-- priority differs, its counters and its history. A checkpoint belongs to the old payload.
local function replace(holder, body, large, starts, asked)
  -- If this call has changed the task before: its entries must be written before some of them are removed.
  if saved[holder] then commit() end
  local t = open(holder)
  if t.state ~= "queued" and t.state ~= "scheduled" and t.state ~= "retrying" then return "duplicate" end
  if max_bytes > 0 then
    local growth = size_of_new(body, large) - size_of(holder, type_and_payload(t))
    if growth > math.max(0, free_bytes) then return "full_bytes" end
    free_bytes = free_bytes - growth
    add_bytes(growth)
  end
  local before = read_policy(t.policy).priority
  local policy, text = parts_of_body(body)
  replace_type_and_payload(t, text, large)
  t.policy = policy
  leave(expiring, holder)
  set_expiry(t, asked)
  extras(t).extra, extras(t).checkpoint, extras(t).progress = asked.extra, nil, nil
  local priority = read_policy(policy).priority
  if t.state == "queued" and priority ~= before then make_ready(holder, priority) end
  -- Debounce: a repeated delay starts again.
  if t.state == "scheduled" and starts > now then join(due, starts, holder) end
  save(t)
  return "replaced"
end

local function create(id, body, large, starts, asked)
  local t = parse(id, NEW .. body)
  opened[id] = t
  set_expiry(t, asked)
  if asked.extra then extras(t).extra = asked.extra end
  if asked.unique then
    extras(t).unique = asked.unique
    redis.call("SET", unique .. asked.unique, id)
  end
  if starts > now then
    t.state = "scheduled"
    join(due, starts, id)
  else
    make_ready(id, read_policy(t.policy).priority)
  end
  save(t)
  set_payload(id, large)
  return t.state
end

-- Creates a task, or says why not: the codes of submit.lua. ttl: ms that an idempotency record is kept.
local function submit(id, body, large, asked, ttl)
  local known = asked.key and redis.call("GET", record .. asked.key)
  if known then
    local print, known_id, code = match(known, "^(%S+) (%S+) (%S+)")
    if print ~= asked.print then return "conflict", id end
    return "replay_" .. code, known_id
  end
  if opened[id] or redis.call("EXISTS", task .. id) == 1 then return "exists", id end
  local after = asked.when and match(asked.when, "^%+(%d+)$")
  local starts = after and now + after or tonumber(asked.when or 0)
  local holder = asked.unique and redis.call("GET", unique .. asked.unique)
  if holder and not open(holder) then holder = nil end
  local code
  if not holder then
    local full = take_room(1, size_of_new(body, large))
    if full then return full, id end
    code = create(id, body, large, starts, asked)
    if max_bytes > 0 then add_bytes(size_of_new(body, large)) end
  elseif asked.mode == "replace" then
    code = replace(holder, body, large, starts, asked)
    if code == "full_bytes" then return code, id end
  else
    code = "duplicate"
  end
  local answered_id = holder or id
  if asked.key then redis.call("SET", record .. asked.key, asked.print .. " " .. answered_id .. " " .. code, "PX", ttl) end
  return code, answered_id
end
