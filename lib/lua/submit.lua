#!lua
--[[ submit: create tasks, ready at once or later.
  arguments  ttl: ms that an idempotency record is kept; then for each: id, when ("0" now, "+ms" from now, or a
             time), text (payload, JSON), type, policy, rare ("" none, or a JSON object of strings:
             extra, further members for the worker, JSON without braces; key of the idempotency record and
             print of what was asked; unique key; mode "replace": a waiting duplicate gets this payload)
  answers    for each {word, id}; the words:
             "queued" | "scheduled"              created
             "duplicate" | "replaced"            id holds the unique key; its payload was left or replaced
             "replay_queued" | "replay_scheduled" | "replay_duplicate" | "replay_replaced"
                                                 asked before under this key: the first answer again
             "conflict"                          asked before under this key, but for something else
             "exists"                            the id is taken; nothing was changed
  cost       O(n log D), D = delayed tasks
  invariant  each item is all or nothing; a refused one changes nothing ]]
local ttl = ARGV[1]
local first, fields_each = 2, 6

local keys = {}
for i = first, #ARGV, fields_each do keys[#keys + 1] = task .. ARGV[i] end
local any_taken = redis.call("EXISTS", unpack(keys)) > 0

local answers, seen, large = {}, {}, {}

local function write_large()
  for i = 1, #large, CHUNK do redis.call("MSET", unpack(large, i, math.min(i + CHUNK - 1, #large))) end
  large = {}
end

local function replace(holder, text, when)
  local fields = read(holder, { "state", "payload" })
  if fields.state ~= "queued" and fields.state ~= "scheduled" and fields.state ~= "retrying" then return "duplicate" end
  write_large() -- the holder's own payload may be among them
  if #text > 64 then
    redis.call("SET", payload .. holder, text)
    redis.call("HDEL", task .. holder, "payload")
  else
    redis.call("HSET", task .. holder, "payload", text)
    redis.call("UNLINK", payload .. holder)
  end
  -- Debounce: a delay asked again starts again.
  if fields.state == "scheduled" and when > now then join(due, when, holder) end
  return "replaced"
end

local NOTHING_RARE = {}

local function create(id, when, text, type, policy, rare)
  local state, asked = "queued", read_policy(policy)
  if when > now then
    state = "scheduled"
    join(due, when, id)
  else
    make_ready(id, asked.priority)
  end
  if asked.expires > 0 then join(expiring, asked.expires, id) end
  local fields = { "state", state, "type", type, "policy", policy, "created", now }
  -- A hash keeps its compact form while every value has at most 64 bytes: a larger payload gets its own key.
  if #text > 64 then
    large[#large + 1] = payload .. id
    large[#large + 1] = text
  else
    fields[#fields + 1] = "payload"
    fields[#fields + 1] = text
  end
  if rare.extra then
    fields[#fields + 1] = "extra"
    fields[#fields + 1] = rare.extra
  end
  if rare.unique then
    redis.call("SET", unique .. rare.unique, id)
    fields[#fields + 1] = "unique"
    fields[#fields + 1] = rare.unique
  end
  redis.call("HSET", task .. id, unpack(fields))
  seen[id] = true
  return state
end

for i = first, #ARGV, fields_each do
  local id, when, text, type, policy, rare = unpack(ARGV, i, i + fields_each - 1)
  rare = rare == "" and NOTHING_RARE or cjson.decode(rare)
  local starts = string.sub(when, 1, 1) == "+" and now + string.sub(when, 2) or tonumber(when)
  -- A time to live counts from now: only here is the clock known.
  if string.find(policy, "+", 1, true) then
    policy = string.gsub(policy, "%+(%d+)", function(ms) return string.format("%d", now + ms) end)
  end
  local known = rare.key and redis.call("GET", record .. rare.key)
  local holder = rare.unique and redis.call("GET", unique .. rare.unique)
  local word
  if known then
    local of, by, as = string.match(known, "^(%S+) (%S+) (%S+)")
    if of == rare.print then
      word, id = "replay_" .. as, by
    else
      word = "conflict"
    end
  elseif seen[id] or (any_taken and redis.call("EXISTS", task .. id) == 1) then
    word = "exists"
  else
    if holder then
      word = rare.mode == "replace" and replace(holder, text, starts) or "duplicate"
      id = holder
    else
      word = create(id, starts, text, type, policy, rare)
    end
    if rare.key then redis.call("SET", record .. rare.key, rare.print .. " " .. id .. " " .. word, "PX", ttl) end
  end
  answers[#answers + 1] = { word, id }
end
write_large()
commit()
publish(0)
return answers
