#!lua flags=allow-oom
--[[ retry-dead: give dead tasks a new life in their queue, with all budgets back at nought.
  for each   id, inline, large (a new payload: within the task's text, or with a key of its own; both "": the old one)
  answers    "requeued" | "not_dead" | "duplicate" (another task holds its unique key by now)
  cost       O(n log D), D = dead tasks
  invariant  attempt numbers go on: a lease of the former life stays lost ]]
local first, fields_each = 1, 3

local function replace_payload(t, inline, large)
  extras(t)
  t.rest = string.match(t.rest, "^[^\n]*\n") .. inline
  if large == "" then
    redis.call("UNLINK", payload .. t.id)
  else
    redis.call("SET", payload .. t.id, large)
  end
end

local answers = {}
for i = first, #ARGV, fields_each do
  local id, inline, large = unpack(ARGV, i, i + fields_each - 1)
  local t = open(id)
  local code = "not_dead"
  if t and t.state == "dead" then
    local key = extras(t).unique
    local holder = key and redis.call("GET", unique .. key)
    if holder and holder ~= id then
      code = "duplicate"
    else
      code = "requeued"
      leave(dead, id)
      make_ready(id, read_policy(t.policy).priority)
      if key then redis.call("SET", unique .. key, id) end
      -- The time by which it was to start belongs to its former life.
      t.policy = string.gsub(t.policy, "^(%d+ %d+ %d+ %d+ %d+) %d+", "%1 0")
      t.state, t.finished, t.retries, t.crashes, t.releases = "queued", "0", "0", "0", "0"
      extras(t).reason, extras(t).cancel, extras(t).watched = nil, nil, nil
      if inline ~= "" or large ~= "" then replace_payload(t, inline, large) end
      if max_bytes > 0 then add_bytes(size_of(id, t.rest)) end
      save(t)
    end
  end
  answers[#answers + 1] = code
end
commit()
publish(0)
return answers
