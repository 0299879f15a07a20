#!lua flags=allow-oom
--[[ settle: end attempts as their workers report: done, failed, or returned to the head of the queue.
  arguments  retention: ms for which a done or cancelled task is kept; then for each: id; lease ("" if the caller names
             none); outcome: "done", "failed", "released", or "returned", which is a release that is not counted; retry: for
             "failed" and "released" ms until the next attempt ("": backoff, or at once), for "failed" also "no" further
             attempt; then, if no task of the same group should be leased for some time, `=` and these ms; text: the result of
             done as JSON, or the error of failed or released ("" none)
  answers    for each {code, retries, attempt (the newest one), state ("retrying": it backs off), time of the settlement,
             reason (if this has made it dead), "1" if its error must not be published; both may be absent}; the codes:
             "acknowledged" | "requeued" | "moved_to_dlq" | "released" | "cancelled"
                             also if this lease was settled in the same way before
             "lease_lost"    another attempt has the task, the lease lapsed, or it was settled differently
             "not_leased"    the caller named no lease, and the task is not leased
             "unknown"       no such task
             or only now, if every item named its lease and was acknowledged now
  cost       O(n log L), L = live leases
  invariant  only the newest lease settles, and only once; without a lease, only while the task is leased ]]
local retention = ARGV[1]
local first, fields_each = 2, 5

local ids = {}
for i = first, #ARGV, fields_each do ids[#ids + 1] = ARGV[i] end
local keys = load(ids)

-- Done tasks that are kept for the retention of the broker: a list takes an id at a fifth of the cost of a sorted set, in
-- time and in memory.
local completed_ids = {}

-- Fast path for a lease that is done without a result, of a task that has no extras or only members for the worker, as most
-- are: submit, lease and settle together take 12.4 µs of Redis CPU per task in batches of 100, and 16.1 µs without this path.
-- Returns false, having changed nothing, for any other task.
-- Does the work of leave, join and write inline: per task the calls alone would cost as much as the rest.
local settled_ids = values_in(left, leases)
local of_groups = {} -- group, id, ... of the tasks with a group
local function end_unparsed(id, key, lease)
  local text = loaded[id]
  local held = PROCESSING .. " " .. lease .. " "
  if not text or find(text, held, 1, true) ~= 1 then return false end
  local policy, policy_end, group = policy_in(text, #held)
  local extras_end = policy_end and end_of_simple_extras(text, policy_end + 1)
  if not extras_end then return false end
  local at = #of_groups
  if group then of_groups[at + 1], of_groups[at + 2] = group, id end
  settled_ids[#settled_ids + 1] = id
  if policy.result_ttl < 0 then
    completed_ids[#completed_ids + 1] = id
  else
    join(done, now + policy.result_ttl, id)
  end
  at = #written
  written[at + 1] = key
  written[at + 2] = DONE .. sub(text, #PROCESSING + 1)
  loaded[id] = written[at + 2]
  if max_bytes > 0 then add_bytes(-size_of(id, sub(text, extras_end + 1))) end
  return true
end

local others, has_other = {}, {} -- other items; by id, whether one of them is of this task: later items must wait for it
local groups_before = {} -- by index in `others`: the length of of_groups when that item was read
for i = first, #ARGV, fields_each do
  local id, lease, outcome, retry, text = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local is_plain = outcome == "done" and text == "" and lease ~= "" and not has_other[id]
  if not is_plain or not end_unparsed(id, keys[(i - first) / fields_each + 1], lease) then
    others[#others + 1] = i
    groups_before[#others] = #of_groups
    has_other[id] = true
  end
end
if #others == 0 and #of_groups > 0 then
  local leave_group = open_groups().leave
  for i = 1, #of_groups, 2 do leave_group(of_groups[i], of_groups[i + 1]) end
end

local function write_and_publish()
  local newest = completed_ids[1] and redis.call("LINDEX", completed, "-1")
  if newest and redis.call("GETRANGE", task .. newest, DONE_AT_FROM, DONE_AT_TO) > now_text then
    -- The clock has been set back. `completed` is in the order of time, so these tasks go to `done`, which sorts them.
    for _, id in ipairs(completed_ids) do join(done, now + retention, id) end
  else
    in_chunks("RPUSH", completed_ids, completed)
  end
  commit()
  -- If the queue limits concurrency, each settled lease allows another task to be leased.
  if redis.call("HEXISTS", settings, "concurrency") == 1 then became_ready = became_ready + #ids end
  publish(0)
end
if #others == 0 then
  write_and_publish()
  return now
end

local ACKNOWLEDGED = { "acknowledged", 0, 0, "done", now } -- the answer that a lease has been acknowledged now

-- The answer to the last settlement and its time, if it was by this lease (or, without a lease, by the newest one) and
-- the same. Records of earlier versions lack the time.
local function settled_before(t, lease, outcome)
  local by, as, code, retries, at = match(extras(t).settled or "", "^(%S+) (%S+) (%S+) (%d+) ?(%d*)")
  -- A done task records its settlement only by its state; `settled` may be of an earlier attempt.
  if t.state == "done" and outcome == "done" then by, as, code, retries, at = t.lease, "done", "acknowledged", 0, t.finished end
  if as == outcome and by == (lease == "" and t.lease or lease) then return code, tonumber(retries), tonumber(at) end
end

local function settle(t, outcome, retry, text)
  leave(leases, t.id)
  if extras(t).cancel then
    extras(t).settled = t.lease .. " " .. (outcome == "returned" and "released" or outcome) .. " cancelled 0 " .. now_text
    end_cancelled(t, retention)
    return "cancelled", 0
  end
  local policy = read_policy(t.policy)
  if outcome == "done" then
    if text ~= "" then extras(t).result = text end
    if policy.result_ttl < 0 then
      completed_ids[#completed_ids + 1] = t.id
    else
      join(done, now + policy.result_ttl, t.id)
    end
    finish(t, "done")
    return "acknowledged", 0
  end
  local wait, hold_ms = match(retry, "^(.-)=(%d+)$")
  if hold_ms then
    retry = wait
    if policy.group then open_groups().ask(policy.group, hold_ms) end
  end
  if outcome == "released" or outcome == "returned" then
    if outcome == "returned" then t.releases = t.releases - 1 end
    add_history(t, "released", text ~= "" and text or nil)
    if text ~= "" then extras(t).error = text end
    extras(t).settled = t.lease .. " released released 0 " .. now_text
    requeue_or_mark_dead(t, policy, {
      counter = "releases",
      budget = MAX_RELEASES,
      reason = "released",
      delay = tonumber(retry) or 0,
      front = true,
    })
    return "released", 0
  end
  local retries = t.retries + 1
  add_history(t, "failed", text)
  extras(t).error = text ~= "" and text or nil
  local code = requeue_or_mark_dead(t, policy, {
    counter = "retries",
    budget = policy.max_retries,
    reason = "failed",
    delay = tonumber(retry) or backoff_delay(policy, retries),
    final = retry == "no",
  })
  extras(t).settled = t.lease .. " failed " .. code .. " " .. retries .. " " .. now_text
  return code, retries
end

local function answer(id, lease, outcome, retry, text)
  local t = open(id)
  if not t then return { "unknown", 0, 0, "", now } end
  local code, retries, at
  if t.state == "processing" and (lease == "" or lease == t.lease) then
    code, retries = settle(t, outcome, retry, text)
  else
    code, retries, at = settled_before(t, lease, outcome == "returned" and "released" or outcome)
    code = code or (lease == "" and "not_leased" or "lease_lost")
  end
  if code == "acknowledged" and lease ~= "" and (at or now) == now then return ACKNOWLEDGED end
  -- A task that was released may have died since: then a repetition is not about its death.
  local died = t.state == "dead" and (code == "moved_to_dlq" or code == "released" and (at or now) == tonumber(t.finished))
  local redact = extras(t).redact
  local reason = died and extras(t).reason or redact and "" or nil
  return { code, retries or 0, attempt_of(t.lease), t.state, at or now, reason, redact }
end

-- Tasks leave their groups in the order of the items: that of the next turns of the groups.
local groups_left = 0
local function leave_groups(last)
  for i = groups_left + 1, last, 2 do open_groups().leave(of_groups[i], of_groups[i + 1]) end
  groups_left = last
end

local answers, all_acknowledged = {}, true
for at = 1, #ids do answers[at] = ACKNOWLEDGED end
for at, i in ipairs(others) do
  leave_groups(groups_before[at])
  local given = answer(unpack(ARGV, i, i + fields_each - 1))
  if given ~= ACKNOWLEDGED then all_acknowledged = false end
  answers[(i - first) / fields_each + 1] = given
end
leave_groups(#of_groups)
write_and_publish()
return all_acknowledged and now or answers
