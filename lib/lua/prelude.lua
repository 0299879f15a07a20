--[[ prelude: what every script begins with: the queue's keys, the clock, and the moves that several share.
  The moves collect what they would write; `commit` writes it, one variadic command a structure, since the
  number of write commands (each is a line in the append-only file) is what a transition costs.
  invariant  a task stands in one place: ready list (queued), `due` (scheduled, retrying), `leases`
             (processing), `done` or `dead`, as its `state` says. ]]
local task, payload, ready, due, leases, done, dead, wake = unpack(KEYS)

local clock = redis.call("TIME") -- read once: it moves while a script runs
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local CHUNK = 1000 -- values in one command; unpack fails near 8,000
local MAX_RELEASES = 100 -- releases are not charged, only kept from going on for ever

local joined, left, lined, returned, woken = {}, {}, {}, {}, 0

local function gather(writes, key, ...)
  local values = writes[key]
  if not values then
    values = {}
    writes[key] = values
  end
  for _, value in ipairs({ ... }) do values[#values + 1] = value end
end

local function join(set, score, id) gather(joined, set, score, id) end
local function leave(set, id) gather(left, set, id) end

-- The one way to become ready, at the end of its list or, given back unblamed, at the front. It also counts
-- the task for the hint that wakes who waits.
local function make_ready(id, policy, front)
  gather(front and returned or lined, ready .. policy.priority, id)
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

-- Writes what was collected. `taken`: how many of the ready ones the caller takes itself.
local function commit()
  write_all("ZREM", left)
  write_all("ZADD", joined)
  write_all("RPUSH", lined)
  write_all("LPUSH", turned_round(returned))
  joined, left, lined, returned = {}, {}, {}, {}
end

local function publish(taken)
  if woken > taken then redis.call("PUBLISH", wake, woken - taken) end
  woken = 0
end

-- What the submitter asked, as lib/task.ts spells it: it never changes.
local function read_policy(text)
  local priority, max_retries, max_crashes, timeout = string.match(text, "^(%d+) (%d+) (%d+) (%d+)")
  return {
    priority = priority,
    max_retries = tonumber(max_retries),
    max_crashes = tonumber(max_crashes),
    timeout = tonumber(timeout),
  }
end

--[[ The one place where a budget is judged: a failure's, a lapsed lease's, a release's. The caller takes the
  task out of `leases`; more = further fields to write. ]]
local function retry_or_bury(id, policy, counter, spent, budget, reason, more, front)
  if spent > budget then
    join(dead, now, id)
    redis.call("HSET", task .. id, "state", "dead", counter, spent, "reason", reason, "finished", now, unpack(more))
    return
  end
  make_ready(id, policy, front)
  redis.call("HSET", task .. id, "state", "queued", counter, spent, unpack(more))
end

-- Moves up to `limit` tasks whose time has come from `due` to ready. Answers how many it looked at.
local function promote_due(limit)
  local ids = redis.call("ZRANGE", due, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
  for _, id in ipairs(ids) do
    leave(due, id)
    local state, policy = unpack(redis.call("HMGET", task .. id, "state", "policy"))
    if state == "scheduled" or state == "retrying" then
      make_ready(id, read_policy(policy))
      redis.call("HSET", task .. id, "state", "queued")
    end
  end
  return #ids
end

-- Takes back up to `limit` leases that have lapsed and judges their tasks. Answers how many it looked at.
local function reap_lapsed(limit)
  local ids = redis.call("ZRANGE", leases, "-inf", now, "BYSCORE", "LIMIT", 0, limit)
  for _, id in ipairs(ids) do
    leave(leases, id)
    local state, policy, crashes = unpack(redis.call("HMGET", task .. id, "state", "policy", "crashes"))
    if state == "processing" then
      policy = read_policy(policy)
      retry_or_bury(id, policy, "crashes", (crashes or 0) + 1, policy.max_crashes, "crashed", {})
    end
  end
  return #ids
end

-- Milliseconds until the next lease lapses or the next delay ends; -1 where neither is set.
local function next_event()
  local lapse = redis.call("ZRANGE", leases, 0, 0, "WITHSCORES")[2]
  local promotion = redis.call("ZRANGE", due, 0, 0, "WITHSCORES")[2]
  if not lapse and not promotion then return -1 end
  return math.max(0, math.min(tonumber(lapse or promotion), tonumber(promotion or lapse)) - now)
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
