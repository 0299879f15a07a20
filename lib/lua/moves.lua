--[[ moves: the transitions that several scripts share. ]]
local MAX_RELEASES = 100 -- a release does not use up a retry; this bound stops endless releases
local MAX_HISTORY = 10 -- the newest finished attempts are kept
local MAX_BACKOFF = 2592000000 -- 30 days: bounds an exponential backoff without max_ms

local function timeout_line(event, reason, attempt, worker, id)
  return event .. " " .. reason .. " " .. attempt .. " " .. worker .. " " .. id .. " " .. now_text
end

local function note_timeout(event, reason, t)
  timeouts[#timeouts + 1] = timeout_line(event, reason, attempt_of(t.lease), t.worker, t.id)
end

-- When a lease that is taken or extended now lapses: never after the attempt's max_runtime.
local function lapse_time(policy, timeout, started)
  local deadline = now + timeout
  if policy.max_runtime > 0 then deadline = math.min(deadline, started + policy.max_runtime) end
  return deadline
end

local random = math.randomseed(clock[2]) or math.random -- seeded: otherwise every script would draw the same numbers

-- The delay before the attempt that follows the nth failure or crash. Full jitter: from 0 to the whole delay.
local function backoff_delay(policy, n)
  if policy.backoff == "" then return 0 end
  local delay = policy.delay
  if policy.backoff == "exponential" then delay = delay * 2 ^ (n - 1) end
  delay = math.min(delay, policy.max_delay > 0 and policy.max_delay or MAX_BACKOFF)
  if policy.jitter then delay = random() * delay end
  return math.floor(delay)
end

-- Appends a line and keeps the newest `most` lines.
local function append_line(lines, line, most)
  if not lines then return line end
  lines = lines .. "\n" .. line
  local count = select(2, string.gsub(lines, "\n", "")) + 1
  for _ = 1, count - most do lines = match(lines, "\n(.*)$") end
  return lines
end

-- A finished attempt as a line of JSON for the history. Only the error can need escapes.
local function history_line(attempt, worker, started, outcome, error)
  worker = worker == "?" and "" or ',"worker":"' .. worker .. '"'
  local cause = error and ',"error":' .. cjson.encode(sub(error, 1, 500)) or ""
  return '{"attempt":' .. attempt .. worker .. ',"started_at":' .. started .. ',"ended_at":' .. now_text
    .. ',"outcome":"' .. outcome .. '"' .. cause .. "}"
end

local function add_history(t, outcome, error)
  local line = history_line(attempt_of(t.lease), t.worker, t.started, outcome, error)
  extras(t).history = append_line(extras(t).history, line, MAX_HISTORY)
end

-- Whether a dead task keeps the slot of its group, so that the group waits until it is retried or deleted.
local function blocks(t, group)
  if t.state ~= "dead" or not open_groups().is_strict(group) then return false end
  return groups.limits(group).on_dead == "block"
end

-- Releases what a task holds only until it ends: its bytes, its unique key and the slot of its group. Publishes the end if
-- it is watched.
local function release_claims(t)
  local key, group = extras(t).unique, read_policy(t.policy).group
  if group and not blocks(t, group) then open_groups().leave(group, t.id) end
  if max_bytes > 0 then add_bytes(-size_of(t.id, t.rest)) end
  if key and redis.call("GET", unique .. key) == t.id then redis.call("DEL", unique .. key) end
  if extras(t).watched then publish_hint(ended, t.id) end
end

-- Ends a task. The caller moves it from its former place to that of the state.
local function finish(t, state)
  t.state, t.finished = state, now_text
  save(t)
  release_claims(t)
end

local function mark_dead(t, reason)
  note_timeout("dead", reason, t)
  extras(t).reason = reason
  join(dead, now, t.id)
  finish(t, "dead")
end

local function end_cancelled(t, retention)
  join(cancelled, now + retention, t.id)
  finish(t, "cancelled")
end

-- Ends a waiting task, or marks a leased one. Returns an answer of cancel.lua.
local function cancel_task(id, retention)
  local t = open(id)
  if not t then return { "unknown", "", 0, now } end
  local state, code, at = t.state, nil, now
  if state == "cancelled" then
    code = "cancelled"
  elseif state == "processing" then
    code = "cancelling"
    if not extras(t).cancel then
      extras(t).cancel = now
      save(t)
    end
    at = extras(t).cancel
  elseif t.finished ~= "0" then
    code = "ended"
  else
    code = "cancelled"
    leave(due, id)
    leave(expiring, id)
    end_cancelled(t, retention)
  end
  return { code, state, attempt_of(t.lease), at }
end

--[[ The only place that checks a budget: of failures, crashes or releases. The caller removes the task from `leases`.
  fault      counter: the field that counts it; budget: how many are allowed; reason: of the dead task;
             delay: ms until the next attempt; front: requeue at the head of the list; final: no further attempt
  answers    "requeued" | "moved_to_dlq" ]]
local function requeue_or_mark_dead(t, policy, fault)
  local count = t[fault.counter] + 1
  t[fault.counter] = int(count)
  local starts = now + fault.delay
  if fault.final or count > fault.budget then
    mark_dead(t, fault.reason)
    return "moved_to_dlq"
  end
  if policy.expires > 0 then
    if starts > policy.expires then
      mark_dead(t, "expired")
      return "moved_to_dlq"
    end
    join(expiring, policy.expires, t.id)
  end
  save(t)
  local group = policy.group
  local keeps_slot = group and open_groups().is_strict(group)
  if group and not keeps_slot then groups.leave(group, t.id) end
  if fault.delay > 0 then
    t.state = "retrying"
    join(due, starts, t.id)
  else
    t.state = "queued"
    make_ready(t.id, policy.priority, fault.front or keeps_slot, group)
  end
  return "requeued"
end

-- Reads the tasks of the first `limit` ids of a set whose time has passed. Returns ids and keys.
local function load_passed(set, limit)
  local ids = redis.call("ZRANGE", set, "-inf", now_text, "BYSCORE", "LIMIT", 0, limit)
  return ids, load(ids)
end

-- Moves up to `limit` tasks whose delay is over from `due` to ready. Returns how many entries it read.
local function sweep_due(limit)
  local ids, keys = load_passed(due, limit)
  for i = 1, #ids do
    local id = ids[i]
    leave(due, id)
    -- An opened task was moved earlier in this call.
    local text = not opened[id] and loaded[id] or ""
    local state = match(text, STATE)
    local policy, _, group
    if state == "scheduled" or state == "retrying" then policy, _, group = policy_in(text, #state) end
    if policy and policy.priority then
      write(id, keys[i], ready_text(text, state))
      make_ready(id, policy.priority, group and open_groups().has_slot(group, id), group)
    end
  end
  return #ids
end

-- Fast path of sweep_lapsed for tasks without extras and backoff and with crashes left: derives the new text from the old
-- one. When all leases of a fleet lapse at once, most tasks are like that: 6.4 µs of Redis CPU per task instead of 11.0 µs,
-- which is 0.46 s when 100,000 leases lapse at once. Returns false, having changed nothing, for any other task.
local function lapse_without_extras(id, key)
  local text = loaded[id]
  local before, attempt, started, worker, crashes, after, policy_line, rest = match(text or "", LEASED_WITHOUT_EXTRAS)
  local policy = before and not opened[id] and read_policy(policy_line)
  if not policy or crashes + 1 > policy.max_crashes then return false end
  local history = history_line(attempt, worker, started, "crashed")
  write(id, key, lapsed_text(before, int(crashes + 1), after, extras_text({ history = history }), sub(text, rest)))
  timeouts[#timeouts + 1] = timeout_line("lapsed", "crashed", attempt, worker, id)
  make_ready(id, policy.priority)
  return true
end

-- Ends up to `limit` lapsed leases and requeues or ends their tasks. Returns how many entries it read.
local function sweep_lapsed(limit, retention)
  local ids, keys = load_passed(leases, limit)
  for i = 1, #ids do
    local id = ids[i]
    leave(leases, id)
    local t = not lapse_without_extras(id, keys[i]) and open(id)
    if t and t.state == "processing" then
      local policy = read_policy(t.policy)
      local late = policy.max_runtime > 0 and now >= t.started + policy.max_runtime
      local reason = late and "timed_out" or "crashed"
      add_history(t, reason)
      note_timeout("lapsed", reason, t)
      if extras(t).cancel then
        note_timeout("cancelled", reason, t)
        end_cancelled(t, retention)
      else
        requeue_or_mark_dead(t, policy, {
          counter = "crashes",
          budget = policy.max_crashes,
          reason = reason,
          delay = backoff_delay(policy, t.crashes + 1),
        })
      end
    end
  end
  return #ids
end

-- Ends up to `limit` waiting tasks that have expired, and looks at held turns. Returns how many entries it read.
local function sweep_expired(limit)
  local ids = load_passed(expiring, limit)
  for _, id in ipairs(ids) do
    leave(expiring, id)
    local is_turn = byte(id) == TURN
    if is_turn then open_groups().look_again(sub(id, 2)) end
    local t = not is_turn and open(id)
    if t and is_waiting(t.state) then
      leave(due, id)
      mark_dead(t, "expired")
    end
  end
  return #ids
end

-- Stores the time of a poll if the last one was `age` ms ago or longer; math.huge: nobody polls now. Returns whether the
-- clock has been set back: then the stored time is later than now.
local function note_poll(age)
  local passed = now - (redis.call("HGET", stats, "polled") or 0)
  if passed < 0 or passed >= age then redis.call("HSET", stats, "polled", now) end
  return passed < 0
end

-- All three, with at most `limit` tasks in total, because a script blocks Redis. Returns how many entries it read. If the
-- clock has been set back, groups that are held until some time must not wait as long: they are looked at again.
local function run_timers(limit, retention, was_set_back)
  if was_set_back then open_groups().look_at_held(0, 1000) end
  local moved = sweep_lapsed(limit, retention)
  moved = moved + sweep_expired(limit - moved)
  return moved + sweep_due(limit - moved)
end

-- Milliseconds until the next lease lapses, delay ends or task expires; -1 if there is none.
local function next_event()
  local first = math.huge
  for _, set in ipairs({ leases, due, expiring }) do
    local score = redis.call("ZRANGE", set, "0", "0", "WITHSCORES")[2]
    if score then first = math.min(first, tonumber(score)) end
  end
  if first == math.huge then return -1 end
  return math.max(0, first - now)
end

local MAX_STALE_IDS = 10 -- stale ids that are skipped at the head of a ready list

-- The time since which a queued task of this priority waits.
local function waiting_as(id, priority)
  local started, created, task_priority = match(redis.call("GET", task .. id) or "", WAITING_SINCE)
  if task_priority == tostring(priority) then return math.max(created, started) end
end

-- The time since which the first task of a list waits, if it is among the first few ids.
local function waiting_in(list, priority)
  for i = 0, MAX_STALE_IDS - 1 do
    local id = redis.call("LINDEX", list, i)
    if not id then return nil end
    if byte(id) == TURN then id = open_groups().first(priority, sub(id, 2)) end
    local since = waiting_as(id, priority)
    if since then return since end
  end
end

local function waiting_since(priority) return waiting_in(ready .. priority, priority) end
