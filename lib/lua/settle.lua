#!lua flags=allow-oom
--[[ settle: end attempts as their workers say: done, failed, or released (given back unblamed, to the front).
  arguments  retention: ms that a done or cancelled task is kept; then for each: id, lease ("" where the caller
             names none), outcome ("done", "failed", "released"; after "failed", divided by a space: "no" further attempt,
             or ms until the next one, and not as budget and backoff say; "released free" is not even counted), text
             (the result of done, as JSON, or the error of failed; "" none)
  answers    for each {word, retries, attempt (of use where it is lost), state ("retrying": it backs off), reason (where
             it has died of it)}; the words:
             "acknowledged" | "requeued" | "moved_to_dlq" | "released" | "cancelled"
                             also where this very lease was settled so before
             "lease_lost"    another attempt holds it, it lapsed, or this one was settled otherwise
             "not_leased"    no lease named, and the task is not leased
             "unknown"       no such task
             or only "acknowledged", where that is the answer to all
  cost       O(n log L), L = live leases
  invariant  only the newest lease settles, and only once; without a lease, only while the task is leased ]]
local retention = ARGV[1]
local first, fields_each = 2, 4
local ACKNOWLEDGED = { "acknowledged", 0, 0, "done" }

-- How the task was settled last, if by this lease (or, where none is named, by the newest one) and as said now.
local function settled_before(t, lease, outcome)
  local by, as, word, retries = match(rare(t).settled or "", "^(%S+) (%S+) (%S+) (%d+)")
  -- Of what is done its state says so, and what was said of an earlier attempt stays remembered.
  if t.state == "done" and outcome == "done" then by, as, word, retries = t.lease, "done", "acknowledged", 0 end
  if as == outcome and by == (lease == "" and t.lease or lease) then return word, tonumber(retries) end
end

-- Done without a result, as most attempts end, and of a task that has nothing rare: true where it is that.
local PROCESSING = "processing 0 "
-- What leave, join and write would do is done here: for each task the calls alone would cost as much as that.
local over, ended_plainly, kept_until = values_for(left, leases), values_for(joined, done), {}
local function end_plainly(id, key, lease)
  local text = loaded[id]
  if not text or opened[id] then return false end
  local held = PROCESSING .. (lease == "" and "" or lease .. " ")
  if find(text, held, 1, true) ~= 1 then return false end
  local policy, policy_end = policy_in(text, #held)
  if not policy_end or byte(text, policy_end + 1) ~= 10 then return false end
  local ttl = policy.result_ttl
  local until_then = kept_until[policy] or int(now + (ttl >= 0 and ttl or retention))
  kept_until[policy] = until_then
  over[#over + 1] = id
  local at = #ended_plainly
  ended_plainly[at + 1] = until_then
  ended_plainly[at + 2] = id
  at = #written
  written[at + 1] = key
  written[at + 2] = "done " .. now_text .. sub(text, #PROCESSING)
  loaded[id] = written[at + 2]
  if max_bytes > 0 then hold(-size_of(id, sub(text, policy_end + 2))) end
  return true
end

local function settle(t, outcome, retry, text)
  leave(leases, t.id)
  if rare(t).cancel then
    rare(t).settled = t.lease .. " " .. outcome .. " cancelled 0"
    end_cancelled(t, retention)
    return "cancelled", 0
  end
  local policy = read_policy(t.policy)
  if outcome == "done" then
    if text ~= "" then rare(t).result = text end
    finish(t, "done", done, now + (policy.result_ttl >= 0 and policy.result_ttl or retention))
    return "acknowledged", 0
  end
  if outcome == "released" then
    if retry == "free" then t.releases = t.releases - 1 end
    remember(t, "released")
    rare(t).settled = t.lease .. " released released 0"
    retry_or_bury(t, policy, { counter = "releases", budget = MAX_RELEASES, reason = "released", delay = 0, front = true })
    return "released", 0
  end
  local retries = t.retries + 1
  remember(t, "failed", text)
  rare(t).error = text ~= "" and text or nil
  local word = retry_or_bury(t, policy, {
    counter = "retries",
    budget = policy.max_retries,
    reason = "failed",
    delay = tonumber(retry) or backoff_delay(policy, retries),
    final = retry == "no",
  })
  rare(t).settled = t.lease .. " failed " .. word .. " " .. retries
  return word, retries
end

local function answer(id, lease, outcome, text)
  local t = open(id)
  if not t then return { "unknown", 0, 0, "" } end
  local retry
  outcome, retry = match(outcome, "^(%a+) ?(%w*)$")
  local word, retries
  if t.state == "processing" and (lease == "" or lease == t.lease) then
    word, retries = settle(t, outcome, retry, text)
  else
    word, retries = settled_before(t, lease, outcome)
    word = word or (lease == "" and "not_leased" or "lease_lost")
  end
  local died = t.state == "dead" and (word == "moved_to_dlq" or word == "released")
  return { word, retries or 0, attempt_of(t.lease), t.state, died and rare(t).reason or nil }
end

local ids = {}
for i = first, #ARGV, fields_each do ids[#ids + 1] = ARGV[i] end
local keys = load(ids)

local answers, all_acknowledged = {}, true
for i = first, #ARGV, fields_each do
  local id, lease, outcome, text = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local at = #answers + 1
  if outcome == "done" and text == "" and end_plainly(id, keys[at], lease) then
    answers[at] = ACKNOWLEDGED
  else
    local given = answer(id, lease, outcome, text)
    if given[1] ~= "acknowledged" then all_acknowledged = false end
    answers[at] = given
  end
end
commit()
-- Where there is a limit of leases, each that is over lets another task go.
if redis.call("HEXISTS", settings, "concurrency") == 1 then woken = woken + #ids end
publish(0)
return all_acknowledged and "acknowledged" or answers
