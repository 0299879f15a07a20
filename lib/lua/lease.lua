#!lua flags=allow-oom
--[[ lease: hand out the first ready tasks, the highest priority first, after taking back what has lapsed and
  promoting what is due.
  arguments  limit: how many lapsed and due ones to move; tokens: 22 characters for each slot; then, for each
             slot, the worker's name ("" unknown). Task k goes to slot k.
  answers    {next_event, {id, lease, retries, policy, type, payload, deadline}, ...}
  cost       O((n + limit) log L), L = live leases
  invariant  `leases` lists exactly the tasks whose state is "processing"; the attempt number in a lease never
             goes back, whatever became of the lease before ]]
local limit, tokens = unpack(ARGV)
local workers_from, token_size = 3, 22
local slots = #ARGV - workers_from + 1

reap_lapsed(limit)
promote_due(limit)
commit()

local pop = { "LMPOP", 10 }
for priority = 9, 0, -1 do pop[#pop + 1] = ready .. priority end
pop[#pop + 1] = "LEFT"
pop[#pop + 1] = "COUNT"
local count_at = #pop + 1

local handed, large, large_at = {}, {}, {}
while #handed < slots do
  pop[count_at] = slots - #handed
  local popped = redis.call(unpack(pop))
  if not popped then break end
  for _, id in ipairs(popped[2]) do
    local state, lease, retries, policy, type, text =
      unpack(redis.call("HMGET", task .. id, "state", "lease", "retries", "policy", "type", "payload"))
    if state == "queued" then -- an id left behind by a task that is elsewhere by now is dropped here
      local slot = #handed
      local attempt = tonumber(string.match(lease or "0", "^%d+")) + 1
      lease = attempt .. "." .. string.sub(tokens, slot * token_size + 1, (slot + 1) * token_size)
      local deadline = now + read_policy(policy).timeout
      redis.call("HSET", task .. id, "state", "processing", "lease", lease, "worker", ARGV[workers_from + slot], "started", now)
      join(leases, deadline, id)
      handed[slot + 1] = { id, lease, retries or 0, policy, type, text, deadline }
      if not text then
        large[#large + 1] = payload .. id
        large_at[#large_at + 1] = handed[slot + 1]
      end
    end
  end
end
if #large > 0 then
  for i, text in ipairs(redis.call("MGET", unpack(large))) do large_at[i][6] = text end
end
commit()
publish(#handed)
return { next_event(), unpack(handed) }
