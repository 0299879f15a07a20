#!lua flags=allow-oom
--[[ settle: end attempts as their workers say: done, failed, or released (given back unblamed, to the front).
  arguments  retention: ms that a done or cancelled task is kept; then for each: id, lease ("" where the caller
             names none), outcome, text (the result of done or the error of failed; "" none), retry (of failed:
             "" as the budget and backoff say, "no" at once to the dead-letter queue, or ms until the next attempt)
  answers    for each {word, retries, attempt, state ("retrying": it backs off)}; the words:
             "acknowledged" | "requeued" | "moved_to_dlq" | "released" | "cancelled"
                             also where this very lease was settled so before
             "lease_lost"    another attempt holds it, it lapsed, or this one was settled otherwise
             "not_leased"    no lease named, and the task is not leased
             "unknown"       no such task
  cost       O(n log L), L = live leases
  invariant  only the newest lease settles, and only once; without a lease, only while the task is leased ]]
local retention = ARGV[1]
local first, fields_each = 2, 5

-- How the task was settled last, if by this lease (or, where none is named, by the newest one) and as said now.
local function settled_before(lease, outcome, fields)
  local by, as, word, retries = string.match(fields.settled or "", "^(%S+) (%S+) (%S+) (%S+)")
  if as == outcome and by == (lease == "" and fields.lease or lease) then return word, tonumber(retries) end
end

local function settle(id, fields, outcome, text, retry)
  local function settled(word, retries) return fields.lease .. " " .. outcome .. " " .. word .. " " .. retries end
  leave(leases, id)
  if fields.cancel then
    end_cancelled(id, fields, retention, "settled", settled("cancelled", 0))
    return "cancelled", 0
  end
  local policy = read_policy(fields.policy)
  if outcome == "done" then
    join(done, now + (policy.result_ttl >= 0 and policy.result_ttl or retention), id)
    if text == "" then
      redis.call("HSET", task .. id, "state", "done", "finished", now, "settled", settled("acknowledged", 0))
    else
      redis.call("HSET", task .. id, "state", "done", "finished", now, "settled", settled("acknowledged", 0), "result", text)
    end
    finish(id, fields)
    return "acknowledged", 0
  end
  read(id, JUDGING, fields)
  if outcome == "released" then
    local history = append_line(fields.history, history_line(fields, "released"), MAX_HISTORY)
    local fault = { counter = "releases", budget = MAX_RELEASES, reason = "released", delay = 0, front = true }
    retry_or_bury(id, fields, policy, fault, "settled", settled("released", 0), "history", history)
    return "released", 0
  end
  local retries = (fields.retries or 0) + 1
  local fault = {
    counter = "retries",
    budget = policy.max_retries,
    reason = "failed",
    delay = tonumber(retry) or backoff_delay(policy, retries),
    final = retry == "no",
  }
  local history = append_line(fields.history, history_line(fields, "failed", text), MAX_HISTORY)
  local word = retry_or_bury(id, fields, policy, fault, "error", text, "history", history)
  redis.call("HSET", task .. id, "settled", settled(word, retries))
  return word, retries
end

local answers = {}
for i = first, #ARGV, fields_each do
  local id, lease, outcome, text, retry = unpack(ARGV, i, i + fields_each - 1)
  local fields = read(id, ENDING)
  local word, retries = "unknown", 0
  if fields.state == "processing" and (lease == "" or lease == fields.lease) then
    word, retries = settle(id, fields, outcome, text, retry)
  elseif fields.state then
    word, retries = settled_before(lease, outcome, fields)
    word = word or (lease == "" and "not_leased" or "lease_lost")
  end
  local attempt = tonumber(string.match(fields.lease or "0", "^%d+"))
  answers[#answers + 1] = { word, retries or 0, attempt, fields.state or "" }
end
commit()
publish(0)
return answers
