#!lua flags=allow-oom
--[[ settle: end attempts as their workers say: done, failed, or released (given back unblamed, to the front).
  arguments  retention: ms that a done task is kept; then for each: id, lease ("" where the caller names none),
             outcome, text (the result of done or the error of failed; "" none)
  answers    for each {word, retries, attempt, state}; the words:
             "acknowledged" | "requeued" | "moved_to_dlq" | "released"    also where this very lease was settled so before
             "lease_lost"    another attempt holds it, it lapsed, or this one was settled otherwise
             "not_leased"    no lease named, and the task is not leased
             "unknown"       no such task
  cost       O(n log L), L = live leases
  invariant  only the newest lease settles, and only once; without a lease, only while the task is leased ]]
local retention = ARGV[1]
local fields = 4

-- How the task was settled last, if by this lease (or, where none is named, by the newest one) and as said now.
local function settled_before(lease, outcome, newest, last)
  local by, as, word, retries = string.match(last or "", "^(%S+) (%S+) (%S+) (%S+)")
  if as == outcome and by == (lease == "" and newest or lease) then return word, tonumber(retries) end
end

local answers = {}
for i = 2, #ARGV, fields do
  local id, lease, outcome, text = unpack(ARGV, i, i + fields - 1)
  local key = task .. id
  local state, newest, last = unpack(redis.call("HMGET", key, "state", "lease", "settled"))
  local attempt = tonumber(string.match(newest or "0", "^%d+"))
  local word, retries = nil, 0

  if not state then
    word, state = "unknown", ""
  elseif state ~= "processing" or (lease ~= "" and lease ~= newest) then
    word, retries = settled_before(lease, outcome, newest, last)
    word = word or (lease == "" and "not_leased" or "lease_lost")
    retries = retries or 0 -- a nil would end the answer there
  elseif outcome == "done" then
    word = "acknowledged"
    leave(leases, id)
    join(done, now + retention, id)
    local settled = newest .. " done acknowledged 0"
    if text == "" then
      redis.call("HSET", key, "state", "done", "finished", now, "settled", settled)
    else
      redis.call("HSET", key, "state", "done", "finished", now, "settled", settled, "result", text)
    end
  elseif outcome == "failed" then
    leave(leases, id)
    local policy, failures = unpack(redis.call("HMGET", key, "policy", "retries"))
    policy = read_policy(policy)
    retries = (failures or 0) + 1
    word = retries > policy.max_retries and "moved_to_dlq" or "requeued"
    local settled = newest .. " failed " .. word .. " " .. retries
    retry_or_bury(id, policy, "retries", retries, policy.max_retries, "failed", { "error", text, "settled", settled })
  else
    leave(leases, id)
    word = "released"
    local policy, releases = unpack(redis.call("HMGET", key, "policy", "releases"))
    policy = read_policy(policy)
    retry_or_bury(
      id, policy, "releases", (releases or 0) + 1, MAX_RELEASES, "released",
      { "settled", newest .. " released released 0" }, true
    )
  end
  answers[#answers + 1] = { word, retries, attempt, state }
end
commit()
publish(0)
return answers
