#!lua flags=allow-oom
--[[ lease: hand out the first ready tasks, the highest priority first, after taking back what has lapsed,
  ending what has expired and promoting what is due.
  arguments  limit: how many of each to move; retention: ms that a cancelled task is kept; tokens: 22 characters
             for each slot; then, for each slot, the worker's name ("" unknown). Task k goes to slot k.
  answers    {next_event (0: ask again at once), {id, lease, retries, policy, type, payload, deadline, extra, checkpoint}, ...}
  cost       O((n + limit) log L), L = live leases, and O(1,000) where many have left their list
  invariant  `leases` lists exactly the tasks whose state is "processing"; the attempt number in a lease never
             goes back, whatever became of the lease before ]]
local limit, retention, tokens = unpack(ARGV)
local workers_from, token_size = 4, 22
local slots = #ARGV - workers_from + 1
local MAX_PASSED = 1000 -- ids left behind that one call drops: about 7 ms

reap_lapsed(limit, retention)
reap_expired(limit)
promote_due(limit)
commit()

-- When somebody asked last, to the second: an idle queue is not written to for each poll.
if now - (redis.call("HGET", stats, "polled") or 0) >= 1000 then redis.call("HSET", stats, "polled", now) end

local pop = { "LMPOP", 10 }
for priority = 9, 0, -1 do pop[#pop + 1] = ready .. priority end
pop[#pop + 1] = "LEFT"
pop[#pop + 1] = "COUNT"
local count_at = #pop + 1

local handed, large, large_at, passed = {}, {}, {}, 0
while #handed < slots and passed < MAX_PASSED do
  pop[count_at] = slots - #handed
  local popped = redis.call(unpack(pop))
  if not popped then break end
  local priority = string.sub(popped[1], -1)
  for _, id in ipairs(popped[2]) do
    local state, lease, retries, policy, type, text, extra, checkpoint = unpack(redis.call(
      "HMGET", task .. id, "state", "lease", "retries", "policy", "type", "payload", "extra", "checkpoint"
    ))
    local asked = policy and read_policy(policy)
    if state == "queued" and asked.expires > 0 and now > asked.expires then
      leave(expiring, id)
      bury(id, read(id, ENDING), "expired")
      passed = passed + 1
    elseif state == "queued" and asked.priority == priority then
      local slot = #handed
      local attempt = tonumber(string.match(lease or "0", "^%d+")) + 1
      lease = attempt .. "." .. string.sub(tokens, slot * token_size + 1, (slot + 1) * token_size)
      local deadline = lapse_time(asked, asked.timeout, now)
      redis.call("HSET", task .. id, "state", "processing", "lease", lease, "worker", ARGV[workers_from + slot], "started", now)
      join(leases, deadline, id)
      if asked.expires > 0 then leave(expiring, id) end
      handed[slot + 1] = { id, lease, retries or 0, policy, type, text, deadline, extra, checkpoint }
      if not text then
        large[#large + 1] = payload .. id
        large_at[#large_at + 1] = handed[slot + 1]
      end
    else -- left behind by a task that is elsewhere by now, or that had this id before
      passed = passed + 1
    end
  end
end
if #large > 0 then
  for i, text in ipairs(redis.call("MGET", unpack(large))) do large_at[i][6] = text end
end
commit()
publish(#handed)
return { passed < MAX_PASSED and next_event() or 0, unpack(handed) }
