#!lua flags=allow-oom
--[[ redrive: give dead tasks a new life in their queue, with all budgets back at nought.
  for each   id
  answers    "requeued" | "not_dead" | "duplicate" (another task holds its unique key by now)
  cost       O(n log D), D = dead tasks
  invariant  attempt numbers go on: a lease of the former life stays lost ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local key = task .. id
  local fields = read(id, { "state", "policy", "unique" })
  local word = "not_dead"
  if fields.state == "dead" then
    local holder = fields.unique and redis.call("GET", unique .. fields.unique)
    if holder and holder ~= id then
      word = "duplicate"
    else
      word = "requeued"
      leave(dead, id)
      make_ready(id, read_policy(fields.policy).priority)
      if fields.unique then redis.call("SET", unique .. fields.unique, id) end
      -- The time by which it was to start belongs to its former life.
      local policy = string.gsub(fields.policy, "^(%d+ %d+ %d+ %d+ %d+) %d+", "%1 0")
      redis.call("HSET", key, "state", "queued", "policy", policy)
      redis.call("HDEL", key, "retries", "crashes", "releases", "reason", "finished", "cancel", "watched")
    end
  end
  answers[#answers + 1] = word
end
commit()
publish(0)
return answers
