#!lua flags=allow-oom
--[[ redrive: give dead tasks a new life in their queue, with all budgets back at nought.
  for each   id
  answers    "requeued" | "not_dead" | "duplicate" (another task holds its unique key by now)
  cost       O(n log D), D = dead tasks
  invariant  attempt numbers go on: a lease of the former life stays lost ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local t = open(id)
  local word = "not_dead"
  if t and t.state == "dead" then
    local key = rare(t).unique
    local holder = key and redis.call("GET", unique .. key)
    if holder and holder ~= id then
      word = "duplicate"
    else
      word = "requeued"
      leave(dead, id)
      make_ready(id, read_policy(t.policy).priority)
      if key then redis.call("SET", unique .. key, id) end
      -- The time by which it was to start belongs to its former life.
      t.policy = string.gsub(t.policy, "^(%d+ %d+ %d+ %d+ %d+) %d+", "%1 0")
      t.state, t.finished, t.retries, t.crashes, t.releases = "queued", "0", "0", "0", "0"
      rare(t).reason, rare(t).cancel, rare(t).watched = nil, nil, nil
      if max_bytes > 0 then hold(size_of(id, t.rest)) end
      save(t)
    end
  end
  answers[#answers + 1] = word
end
commit()
publish(0)
return answers
