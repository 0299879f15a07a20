#!lua flags=allow-oom
--[[ extend: move the deadline of a lease that the caller still holds.
  for each   id, lease, timeout (ms from now; "" as the task was submitted)
  answers    {word, deadline, attempt, state}: "ok" | "lease_lost" | "unknown"
  cost       O(n log L), L = live leases
  invariant  the task stays where it is: extending never makes it ready ]]
local fields = 3

local answers = {}
for i = 1, #ARGV, fields do
  local id, lease, timeout = unpack(ARGV, i, i + fields - 1)
  local state, newest, policy = unpack(redis.call("HMGET", task .. id, "state", "lease", "policy"))
  local attempt = tonumber(string.match(newest or "0", "^%d+"))
  if not state then
    answers[#answers + 1] = { "unknown", 0, 0, "" }
  elseif state ~= "processing" or lease ~= newest then
    answers[#answers + 1] = { "lease_lost", 0, attempt, state }
  else
    local deadline = now + (timeout == "" and read_policy(policy).timeout or tonumber(timeout))
    join(leases, deadline, id)
    answers[#answers + 1] = { "ok", deadline, attempt, state }
  end
end
commit()
return answers
