--[[ prelude: what every script begins with: the queue's keys, the clock, and the moves that several share.
  The moves collect what they would write; `commit` writes it, one variadic command a structure, since the
  number of write commands (each is a line in the append-only file) is what a transition costs.
  invariant  a task stands in one place: a ready list (queued), `due` (scheduled, retrying), `leases`
             (processing), `done`, `dead` or `cancelled`, as its `state` says. An id may linger in a ready
             list after its task has left it (taking it out would cost a scan): lease drops it. ]]
local task, payload, ready, due, leases, done, dead, cancelled, expiring, unique, record, stats, wake, ended = unpack(KEYS)

local clock = redis.call("TIME") -- read once: it moves while a script runs
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
math.randomseed(clock[2]) -- or every script would draw the same numbers

local CHUNK = 1000 -- values in one command; unpack fails near 8,000
local MAX_RELEASES = 100 -- releases are not charged, only kept from going on for ever
local MAX_HISTORY = 10 -- attempts before the newest that are remembered

local joined, left, lined, returned, woken = {}, {}, {}, {}, 0

local function values_for(writes, key)
  local values = writes[key]
  if not values then
    values = {}
    writes[key] = values
  end
  return values
end

local function join(set, score, id)
  local values = values_for(joined, set)
  values[#values + 1] = score
  values[#values + 1] = id
end

local function leave(set, id)
  local values = values_for(left, set)
  values[#values + 1] = id
end

-- The one way to become ready, at the end of its list or, given back unblamed, at the front. It also counts
-- the task for the hint that wakes who waits.
local function make_ready(id, priority, front)
  local values = values_for(front and returned or lined, ready .. priority)
  values[#values + 1] = id
  woken = woken + 1
end

local function write_all(command, writes)
  for key, values in pairs(writes) do
    for i = 1, #values, CHUNK do
      redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, #values)))
    end
  end
end

-- LPUSH turns the order round, so the last goes first.
local function turned_round(writes)
  for key, values in pairs(writes) do
    local turned = {}
    for i = #values, 1, -1 do turned[#turned + 1] = values[i] end
    writes[key] = turned
  end
  return writes
end

-- Writes what was collected.
local function commit()
  write_all("ZREM", left)
  write_all("ZADD", joined)
  write_all("RPUSH", lined)
  write_all("LPUSH", turned_round(returned))
  joined, left, lined, returned = {}, {}, {}, {}
end

-- Tells who waits for tasks how many became ready, less those that the caller has taken itself.
local function publish(taken)
  if woken > taken then redis.call("PUBLISH", wake, woken - taken) end
  woken = 0
end

local policies = {} -- by text: most tasks of a batch were asked for in the same words

-- What the submitter asked, as lib/task.ts spells it. Only redrive changes it. Times in ms; 0: not asked.
local function read_policy(text)
  if policies[text] then return policies[text] end
  local priority, max_retries, max_crashes, timeout, max_runtime, expires, result_ttl, backoff, delay, max_delay, jitter =
    string.match(text, "^(%d+) (%d+) (%d+) (%d+) ?(%d*) ?(%d*) ?(%-?%d*) ?(%a*) ?(%d*) ?(%d*) ?(%d*)")
  local policy = {
    priority = priority,
    max_retries = tonumber(max_retries),
    max_crashes = tonumber(max_crashes),
    timeout = tonumber(timeout),
    max_runtime = tonumber(max_runtime) or 0, -- of one attempt, however often its lease is extended
    expires = tonumber(expires) or 0, -- after this time no attempt starts
    result_ttl = tonumber(result_ttl) or -1, -- -1: the broker's retention
    backoff = backoff, -- "", "fixed", "exponential"
    delay = tonumber(delay) or 0,
    max_delay = tonumber(max_delay) or 0,
    jitter = jitter == "1",
  }
  policies[text] = policy
  return policy
end

-- When a lease taken or extended now lapses: never after the attempt's hard end.
local function lapse_time(policy, timeout, started)
  local deadline = now + timeout
  if policy.max_runtime > 0 then deadline = math.min(deadline, started + policy.max_runtime) end
  return deadline
end

-- How long to wait before the attempt that follows the nth fault. Full jitter: anything from 0 to the delay.
local function backoff_delay(policy, n)
  if policy.backoff == "" then return 0 end
  local delay = policy.delay
  if policy.backoff == "exponential" then delay = delay * 2 ^ math.min(n - 1, 40) end
  if policy.max_delay > 0 then delay = math.min(delay, policy.max_delay) end
  if policy.jitter then delay = math.random() * delay end
  return math.floor(delay)
end

-- Puts a line behind those before and keeps the newest `most`.
local function append_line(lines, line, most)
  lines = (lines and lines ~= "") and (lines .. "\n" .. line) or line
  local count = select(2, string.gsub(lines, "\n", "")) + 1
  for _ = 1, count - most do lines = string.match(lines, "\n(.*)$") end
  return lines
end

-- The line of the history for an attempt that is over, as JSON.
local function history_line(fields, outcome, error)
  return cjson.encode({
    attempt = tonumber(string.match(fields.lease, "^%d+")),
    worker = fields.worker ~= "" and fields.worker or nil,
    started_at = tonumber(fields.started),
    ended_at = now,
    outcome = outcome,
    error = error and string.sub(error, 1, 500) or nil,
  })
end

-- The named fields of a task by name, into `fields` where some are known already.
local function read(id, names, fields)
  local values = redis.call("HMGET", task .. id, unpack(names))
  fields = fields or {}
  for i = 1, #names do fields[names[i]] = values[i] end
  return fields
end

-- What every end has in common: the unique key is free again, and who waits for the end is told.
local function finish(id, fields)
  if fields.unique and redis.call("GET", unique .. fields.unique) == id then redis.call("DEL", unique .. fields.unique) end
  if fields.watched then redis.call("PUBLISH", ended, id) end
end

-- What of a task its end needs to know (`finish`), and what judging its attempt needs beyond that.
local ENDING = { "state", "policy", "lease", "cancel", "unique", "watched", "settled" }
local JUDGING = { "retries", "crashes", "releases", "worker", "started", "history" }

-- Ends a task. The caller has taken it out of where it stood; ... = further fields to write.
local function bury(id, fields, reason, ...)
  join(dead, now, id)
  redis.call("HSET", task .. id, "state", "dead", "reason", reason, "finished", now, ...)
  finish(id, fields)
end

local function end_cancelled(id, fields, retention, ...)
  join(cancelled, now + retention, id)
  redis.call("HSET", task .. id, "state", "cancelled", "finished", now, ...)
  finish(id, fields)
end

--[[ The one place where a budget is judged: a failure's, a lapsed lease's, a release's. The caller takes the
  task out of `leases`.
  fault      counter: the field that counts it; budget: how many are allowed; reason: what a dead task says;
             delay: ms until the next attempt; front: at the head of its list; final: no further attempt
  answers    "requeued" | "moved_to_dlq" ]]
local function retry_or_bury(id, fields, policy, fault, ...)
  local spent = (fields[fault.counter] or 0) + 1
  if fault.final or spent > fault.budget then
    bury(id, fields, fault.reason, fault.counter, spent, ...)
    return "moved_to_dlq"
  end
  local starts = now + fault.delay
  if policy.expires > 0 then
    if starts > policy.expires then
      bury(id, fields, "expired", fault.counter, spent, ...)
      return "moved_to_dlq"
    end
    join(expiring, policy.expires, id)
  end
  if fault.delay > 0 then
    join(due, starts, id)
    fields.state = "retrying"
    redis.call("HSET", task .. id, "state", "retrying", fault.counter, spent, ...)
  else
    make_ready(id, policy.priority, fault.front)
    redis.call("HSET", task .. id, "state", "queued", fault.counter, spent, ...)
  end
  return "requeued"
end

-- Moves up to `limit` tasks whose time has come from `due` to ready. Answers how many it looked at.
local function promote_due(limit)
  local ids = redis.call("ZRANGE", due, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
  for _, id in ipairs(ids) do
    leave(due, id)
    local fields = read(id, { "state", "policy" })
    if fields.state == "scheduled" or fields.state == "retrying" then
      make_ready(id, read_policy(fields.policy).priority)
      redis.call("HSET", task .. id, "state", "queued")
    end
  end
  return #ids
end

-- Takes back up to `limit` leases that have lapsed and judges their tasks. Answers how many it looked at.
local function reap_lapsed(limit, retention)
  local ids = redis.call("ZRANGE", leases, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
  for _, id in ipairs(ids) do
    leave(leases, id)
    local fields = read(id, JUDGING, read(id, ENDING))
    if fields.state == "processing" then
      local policy = read_policy(fields.policy)
      local late = policy.max_runtime > 0 and now >= fields.started + policy.max_runtime
      local reason = late and "timed_out" or "crashed"
      local history = append_line(fields.history, history_line(fields, reason), MAX_HISTORY)
      if fields.cancel then
        end_cancelled(id, fields, retention, "history", history)
      else
        retry_or_bury(id, fields, policy, {
          counter = "crashes",
          budget = policy.max_crashes,
          reason = reason,
          delay = backoff_delay(policy, (fields.crashes or 0) + 1),
        }, "history", history)
      end
    end
  end
  return #ids
end

-- Ends up to `limit` waiting tasks that were not to start after a time now past. Answers how many it looked at.
local function reap_expired(limit)
  local ids = redis.call("ZRANGE", expiring, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
  for _, id in ipairs(ids) do
    leave(expiring, id)
    local fields = read(id, ENDING)
    if fields.state == "scheduled" or fields.state == "retrying" or fields.state == "queued" then
      leave(due, id)
      bury(id, fields, "expired")
    end
  end
  return #ids
end

-- Milliseconds until the next lease lapses, delay ends or task expires; -1 where none is set.
local function next_event()
  local first = math.huge
  for _, set in ipairs({ leases, due, expiring }) do
    local score = redis.call("ZRANGE", set, 0, 0, "WITHSCORES")[2]
    if score then first = math.min(first, tonumber(score)) end
  end
  if first == math.huge then return -1 end
  return math.max(0, first - now)
end

-- All there is to know of a task, or false: its fields, its payload, and its scores in `leases` and `due`.
local function describe(id)
  local fields = redis.call("HGETALL", task .. id)
  if #fields == 0 then return false end
  return {
    id,
    fields,
    redis.call("GET", payload .. id),
    redis.call("ZSCORE", leases, id),
    redis.call("ZSCORE", due, id),
  }
end
