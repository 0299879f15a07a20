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

local function replace(holder, body, large, starts)
  local t = open(holder)
  if t.state ~= "queued" and t.state ~= "scheduled" and t.state ~= "retrying" then return "duplicate" end
  extras(t) -- leaves type and payload in `rest`, which size_of measures
  if max_bytes > 0 then add_bytes(-size_of(holder, t.rest)) end
  replace_payload(t, payload_in_body(body), large)
  save(t)
  if max_bytes > 0 then add_bytes(#t.rest + #large) end
  -- Debounce: a repeated delay starts again.
  if t.state == "scheduled" and starts > now then join(due, starts, holder) end
  return "replaced"
end

local function create(id, body, large, starts, asked)
  local t = parse(id, NEW .. body)
  opened[id] = t
  if asked.expires then
    -- The time to live starts now, by the clock of Redis.
    local expires = now + asked.expires
    t.policy = with_expiry(t.policy, int(expires))
    join(expiring, expires, id)
  end
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
    code = replace(holder, body, large, starts)
  else
    code = "duplicate"
  end
  local answered_id = holder or id
  if asked.key then redis.call("SET", record .. asked.key, asked.print .. " " .. answered_id .. " " .. code, "PX", ttl) end
  return code, answered_id
end
