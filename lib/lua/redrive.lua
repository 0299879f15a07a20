#!lua flags=allow-oom
--[[ redrive: give dead tasks a new life in their queue, with all budgets back at nought.
  for each   id
  answers    "requeued" | "not_dead"
  cost       O(n log D), D = dead tasks
  invariant  attempt numbers go on: a lease of the former life stays lost ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local key = task .. id
  local state, policy = unpack(redis.call("HMGET", key, "state", "policy"))
  if state ~= "dead" then
    answers[#answers + 1] = "not_dead"
  else
    leave(dead, id)
    make_ready(id, read_policy(policy))
    redis.call("HSET", key, "state", "queued")
    redis.call("HDEL", key, "retries", "crashes", "releases", "reason", "finished")
    answers[#answers + 1] = "requeued"
  end
end
commit()
publish(0)
return answers
