#!lua
--[[ submit: create tasks, ready at once or after a delay.
  for each   id, delay (ms), created payload as JSON text, type, policy
  answers    "queued" | "scheduled" | "exists"     exists: that id is taken; nothing was changed
  cost       O(n log D), D = delayed tasks
  invariant  all or none: it runs out of memory before its first write or not at all ]]
local fields = 5

local keys = {}
for i = 1, #ARGV, fields do keys[#keys + 1] = task .. ARGV[i] end
local taken = redis.call("EXISTS", unpack(keys)) > 0

local answers, seen, large = {}, {}, {}
for i = 1, #ARGV, fields do
  local id, delay, text, type, policy = unpack(ARGV, i, i + fields - 1)
  if seen[id] or (taken and redis.call("EXISTS", task .. id) == 1) then
    answers[#answers + 1] = "exists"
  else
    seen[id] = true
    local state = "queued"
    if delay == "0" then
      make_ready(id, read_policy(policy))
    else
      state = "scheduled"
      join(due, now + delay, id)
    end
    -- A hash keeps its compact form while every value has at most 64 bytes: a larger payload gets its own key.
    if #text > 64 then
      large[#large + 1] = payload .. id
      large[#large + 1] = text
      redis.call("HSET", task .. id, "state", state, "type", type, "policy", policy, "created", now)
    else
      redis.call("HSET", task .. id, "state", state, "type", type, "policy", policy, "created", now, "payload", text)
    end
    answers[#answers + 1] = state
  end
end
for i = 1, #large, CHUNK do redis.call("MSET", unpack(large, i, math.min(i + CHUNK - 1, #large))) end
commit()
publish(0)
return answers
