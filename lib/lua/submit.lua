#!lua
--[[ submit: create tasks, ready at once or later.
  arguments  ttl: ms that an idempotency record is kept; then for each: id, body (its text from the policy on, as
             record.lua describes it, without extras), large (the payload, if the body does not contain it), extras
             ("" none, or a JSON object of strings: when it is ready, "+ms" from now or a time; extra, further
             members for the worker, JSON without braces; key of the idempotency record and print of what was
             asked; unique key; mode "replace": a waiting duplicate gets this payload; expires, ms from now)
  answers    for each {code, id}; the words:
             "queued" | "scheduled"              created
             "duplicate" | "replaced"            id holds the unique key; its payload was left or replaced
             "replay_queued" | "replay_scheduled" | "replay_duplicate" | "replay_replaced"
                                                 asked before under this key: the first answer again
             "conflict"                          asked before under this key, but for something else
             "exists"                            the id is taken; nothing was changed
             "full_depth" | "full_bytes"         a new task, for which the queue has no room; nothing was made
             or only "queued", where all were plain and created
  cost       O(n log D), D = delayed tasks; with a max_depth 11 commands more a call, with a max_bytes one or two
  invariant  each item is all or nothing; a refused one changes nothing ]]
local ttl = ARGV[1]
local first, fields_each = 2, 4
local NEW = "queued 0 0 0 ? 0 0 0 " .. now_text .. "\n"

local function set_payload(id, large)
  if large ~= "" then redis.call("SET", payload .. id, large) end
end

-- How many tasks, and how many bytes of them, there is room for. Ids that linger in ready lists take room, too.
local free_depth, free_bytes = math.huge, math.huge
if max_depth > 0 then
  free_depth = max_depth - redis.call("ZCARD", due)
  for priority = 0, 9 do free_depth = free_depth - redis.call("LLEN", ready .. priority) end
end
if max_bytes > 0 then free_bytes = max_bytes - math.max(0, tonumber(redis.call("HGET", stats, "bytes") or 0)) end

local function size_of_new(body, large) return #body - find(body, "\n\n", 1, true) - 1 + #large end

-- Takes up room, or says what is full.
local function take_room(depth, bytes)
  if depth > free_depth then return "full_depth" end
  if bytes > free_bytes then return "full_bytes" end
  free_depth, free_bytes = free_depth - depth, free_bytes - bytes
end

-- Tasks that have no extras are written together, unless one of their ids is taken, or there is no room for all.
local created, plain, plain_at, all_plain = {}, {}, 0, true
for i = first, #ARGV, fields_each do
  local id, large = ARGV[i], ARGV[i + 2]
  if ARGV[i + 3] ~= "" or created[id] ~= nil then
    all_plain = false
    created[id] = created[id] or false -- false: an item with extras asks for it first, and what is behind it waits
  else
    created[id] = i
    plain[plain_at + 1] = task .. id
    plain[plain_at + 2] = NEW .. ARGV[i + 1]
    plain_at = plain_at + 2
    if large ~= "" then
      plain[plain_at + 1] = payload .. id
      plain[plain_at + 2] = large
      plain_at = plain_at + 2
    end
  end
end
if max_depth > 0 or max_bytes > 0 then
  local depth, bytes = 0, 0
  for _, i in pairs(created) do
    if i then depth, bytes = depth + 1, bytes + size_of_new(ARGV[i + 1], ARGV[i + 2]) end
  end
  -- Then each by itself, in order.
  if take_room(depth, bytes) then created, plain, all_plain = {}, {}, false end
end
if #plain > 0 and redis.call("MSETNX", unpack(plain)) == 0 then
  all_plain = false
  for id, i in pairs(created) do
    if i and redis.call("SET", task .. id, NEW .. ARGV[i + 1], "NX") then
      set_payload(id, ARGV[i + 2])
    else
      created[id] = nil
    end
  end
end

local function replace(holder, body, large, starts)
  local t = open(holder)
  if t.state ~= "queued" and t.state ~= "scheduled" and t.state ~= "retrying" then return "duplicate" end
  extras(t)
  local type = match(t.rest, "^[^\n]*\n")
  if max_bytes > 0 then add_bytes(-size_of(holder, t.rest)) end
  t.rest = type .. match(body, "^[^\n]*\n\n[^\n]*\n(.*)$")
  save(t)
  if large == "" then
    redis.call("UNLINK", payload .. holder)
  else
    set_payload(holder, large)
  end
  if max_bytes > 0 then add_bytes(#t.rest + #large) end
  -- Debounce: a delay asked again starts again.
  if t.state == "scheduled" and starts > now then join(due, starts, holder) end
  return "replaced"
end

local function create(id, body, large, starts, asked)
  local t = parse(id, NEW .. body)
  opened[id] = t
  if asked.expires then
    -- A time to live counts from now: only here is the clock known.
    local expires = now + asked.expires
    t.policy = string.gsub(t.policy, "^(%d+ %d+ %d+ %d+ %d+) %d+", "%1 " .. int(expires))
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

local function submit(id, body, large, asked)
  local known = asked.key and redis.call("GET", record .. asked.key)
  if known then
    local print, by, code = match(known, "^(%S+) (%S+) (%S+)")
    if print ~= asked.print then return "conflict", id end
    return "replay_" .. code, by
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
  local by = holder or id
  if asked.key then redis.call("SET", record .. asked.key, asked.print .. " " .. by .. " " .. code, "PX", ttl) end
  return code, by
end

local function line_up(i)
  make_ready(ARGV[i], sub(ARGV[i + 1], 1, 1)) -- its policy begins with its priority, a digit
  if max_bytes > 0 then add_bytes(size_of_new(ARGV[i + 1], ARGV[i + 2])) end
end

if all_plain then
  for i = first, #ARGV, fields_each do line_up(i) end
  commit()
  publish(0)
  return "queued"
end

local answers = {}
for i = first, #ARGV, fields_each do
  local id, body, large, asked = unpack(ARGV, i, i + fields_each - 1)
  local code = "queued"
  if created[id] == i then
    line_up(i)
  else
    code, id = submit(id, body, large, asked == "" and {} or cjson.decode(asked))
  end
  answers[#answers + 1] = { code, id }
end
commit()
publish(0)
return answers
