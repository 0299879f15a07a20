--[[ prelude: what every script begins with: the queue's keys, the clock, the tasks in hand, and the moves that
  several share. A script opens the tasks it is about, moves them, and commits: the writes are collected and made by
  one variadic command a structure, since calls from Lua and lines in the append-only file are what a transition costs.
  invariant  a task stands in one place: a ready list (queued), `due` (scheduled, retrying), `leases`
             (processing), `done`, `dead` or `cancelled`, as its `state` says. An id may linger in a ready
             list after its task has left it (taking it out would cost a scan): lease drops it.
  The line before this one, which lib/redis/scripts.ts writes, has the limits of a queue: max_depth and max_bytes; 0: none.
  Where there is a max_bytes, `bytes` of `stats` is kept: what the tasks that have not ended hold. ]]
local task, payload, ready, due, leases, done, dead, cancelled, expiring, unique, record, stats, settings, wake, ended = unpack(KEYS)

-- What is used for each task: a global is looked up by its name each time.
local ARGV, find, match, sub, byte = ARGV, string.find, string.match, string.sub, string.byte

local clock = redis.call("TIME") -- read once: it moves while a script runs
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
math.randomseed(clock[2]) -- or every script would draw the same numbers

-- A time or count as text. Lua would print a number anew wherever it is put into a text or a command, which costs
-- more than any of Redis' commands: the same few numbers serve a whole batch.
local texts_of_numbers = {}
local function int(number)
  local text = texts_of_numbers[number]
  if not text then
    text = string.format("%d", number)
    texts_of_numbers[number] = text
  end
  return text
end
local now_text = int(now)

local CHUNK = 4000 -- values in one command; unpack fails near 8,000
local MAX_RELEASES = 100 -- releases are not charged, only kept from going on for ever
local MAX_HISTORY = 10 -- attempts that are over, and remembered: the newest

local function in_chunks(command, values, key)
  for i = 1, #values, CHUNK do
    local last = math.min(i + CHUNK - 1, #values)
    if key then
      redis.call(command, key, unpack(values, i, last))
    else
      redis.call(command, unpack(values, i, last))
    end
  end
end

--[[ A task is one string, so that a batch of them is read by one MGET and written by one MSET:
    state finished lease started worker retries crashes releases created
    policy
    what few tasks have, as a JSON object of strings, or nothing
    type, as JSON text
    payload, as JSON text, or nothing where it has a key of its own
  lease: the newest, `attempt.token`; "0" and 0 are nought or never, and "?" is no worker. The rare ones: extra,
  unique, watched, cancel, reason, error, result, progress, checkpoint, log, history, settled.
  A script opens a task as a table and saves it. What every task goes through, lease and settle, writes the new text
  straight from the old one: building the table costs more than all of Redis' commands. ]]
local HEAD = "^(%a+) (%d+) (%d%S*) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+)\n(%d+ %d+ %d+ %d+[^\n]*)\n()"

local loaded = {} -- texts by id; false where there is no such task
local opened = {} -- tables by id: each is the same one for the whole script
local saved = {} -- those to write
local written = {} -- keys and texts to write

-- Reads these tasks; what is known of one already stays as it is. Answers their keys.
local function load(ids)
  local keys = {}
  for i = 1, #ids do keys[i] = task .. ids[i] end
  for first = 1, #keys, CHUNK do
    local texts = redis.call("MGET", unpack(keys, first, math.min(first + CHUNK - 1, #keys)))
    for k = 1, #texts do
      local id = ids[first + k - 1]
      if loaded[id] == nil then loaded[id] = texts[k] end
    end
  end
  return keys
end

-- Gives a task, not opened so far, its new text. Its key, too: Lua reads each byte of a text that it makes.
local function write(id, key, text)
  loaded[id] = text
  local at = #written
  written[at + 1] = key
  written[at + 2] = text
end

local function parse(id, text)
  local state, finished, lease, started, worker, retries, crashes, releases, created, policy, rest =
    match(text, HEAD)
  -- What is no task's text, as nothing here writes it, is no task: it must not keep the others of its queue from theirs.
  if not state then return false end
  return {
    id = id, state = state, finished = finished, lease = lease, started = started, worker = worker, retries = retries,
    crashes = crashes, releases = releases, created = created, policy = policy,
    rest = sub(text, rest), -- the rare ones, type and payload, unread
    rare = false,
  }
end

local function open(id)
  local t = opened[id]
  if t ~= nil then return t end
  if loaded[id] == nil then load({ id }) end
  t = loaded[id] and parse(id, loaded[id])
  opened[id] = t
  return t
end

local function save(t) saved[t.id] = t end

-- What few tasks have, by name. What is put into it is kept if the task is saved.
local function rare(t)
  if not t.rare then
    local text, rest = match(t.rest, "^([^\n]*)\n()")
    t.rare = text == "" and {} or cjson.decode(text)
    t.rest = sub(t.rest, rest)
  end
  return t.rare
end

local function text_of(t)
  local rest = t.rest
  if t.rare then rest = (next(t.rare) and cjson.encode(t.rare) or "") .. "\n" .. rest end
  return t.state .. " " .. t.finished .. " " .. t.lease .. " " .. t.started .. " " .. t.worker .. " " .. t.retries .. " "
    .. t.crashes .. " " .. t.releases .. " " .. t.created .. "\n" .. t.policy .. "\n" .. rest
end

local joined, left, lined, returned, woken, more_bytes = {}, {}, {}, {}, 0, 0
local befallen = {} -- what befell tasks by itself: `event reason attempt worker id` of each
local lapsed, buried = 0, 0 -- leases that have lapsed and tasks that have died in this call

-- The bytes that a task holds: its type and payload as JSON text, which stay the same until it ends.
-- `rest`: its text from the type on.
local function size_of(id, rest)
  return #rest + (byte(rest, -1) == 10 and redis.call("STRLEN", payload .. id) or 0)
end

-- Counts bytes as held from now on, or, below 0, as no more. Only to be called where max_bytes is set.
local function hold(bytes) more_bytes = more_bytes + bytes end

local function values_for(writes, key)
  writes[key] = writes[key] or {}
  return writes[key]
end

local function join(set, score, id)
  local values = joined[set] or values_for(joined, set)
  local at = #values
  values[at + 1] = int(score)
  values[at + 2] = id
end

local function leave(set, id)
  local values = left[set] or values_for(left, set)
  values[#values + 1] = id
end

-- The one way to become ready, at the end of its list or, given back unblamed, at the front. It also counts
-- the task for the hint that wakes who waits.
local function make_ready(id, priority, front)
  local lists = front and returned or lined
  local values = lists[priority] or values_for(lists, priority)
  values[#values + 1] = id
  woken = woken + 1
end

-- LPUSH turns the order round, so the last goes first.
local function turned_round(values)
  local turned = {}
  for i = #values, 1, -1 do turned[#turned + 1] = values[i] end
  return turned
end

-- Writes what was collected. Whatever is opened after it is read anew.
local function commit()
  for id, t in pairs(saved) do write(id, task .. id, text_of(t)) end
  in_chunks("MSET", written)
  for set, ids in pairs(left) do in_chunks("ZREM", ids, set) end
  for set, values in pairs(joined) do in_chunks("ZADD", values, set) end
  for priority, ids in pairs(lined) do in_chunks("RPUSH", ids, ready .. priority) end
  for priority, ids in pairs(returned) do in_chunks("LPUSH", turned_round(ids), ready .. priority) end
  if more_bytes ~= 0 then redis.call("HINCRBY", stats, "bytes", int(more_bytes)) end
  more_bytes = 0
  loaded, opened, saved, written, joined, left, lined, returned = {}, {}, {}, {}, {}, {}, {}, {}
end

-- Tells who waits for tasks how many became ready, less those that the caller has taken itself.
local function publish(taken)
  if woken > taken then redis.call("PUBLISH", wake, woken - taken) end
  woken = 0
end

-- Tells them of all that is ready: what kept it back is gone.
local function wake_all()
  for priority = 0, 9 do woken = woken + redis.call("LLEN", ready .. priority) end
  publish(0)
end

-- How many more tasks the queue's settings let go out now; and, where it has a rate, how many by that, with a fraction:
-- its bucket gains per_second a second, up to burst, and each task takes one.
local function allowance(concurrency, per_second, burst)
  local most, bucket = math.huge, nil
  if concurrency then most = concurrency - redis.call("ZCARD", leases) end
  if per_second then
    local had, filled = unpack(redis.call("HMGET", stats, "tokens", "filled"))
    bucket = math.min(burst, (had or burst) + (now - (filled or now)) * per_second / 1000)
    most = math.min(most, math.floor(bucket))
  end
  return math.max(0, most), bucket
end

local policies = {} -- by text: most tasks of a batch were asked for in the same words

-- What the submitter asked, as lib/task/task.ts spells it. Only retry-dead changes it. Times in ms; 0: not asked.
local function read_policy(text)
  if policies[text] then return policies[text] end
  local priority, max_retries, max_crashes, timeout, max_runtime, expires, result_ttl, backoff, delay, max_delay, jitter =
    match(text, "^(%d+) (%d+) (%d+) (%d+) ?(%d*) ?(%d*) ?(%-?%d*) ?(%a*) ?(%d*) ?(%d*) ?(%d*)")
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

-- The policy in a task's text, looked for behind `from`, a place in its head, and where it ends; nothing where none is.
local function policy_in(text, from)
  local head_end = find(text, "\n", from, true)
  local policy_end = head_end and find(text, "\n", head_end + 1, true)
  if not policy_end then return end
  local asked = sub(text, head_end + 1, policy_end - 1)
  return policies[asked] or read_policy(asked), policy_end
end

-- The number of the attempt that a lease is of; 0 where there was none.
local function attempt_of(lease) return tonumber(match(lease, "^%d+")) end

local function befall(event, reason, t)
  befallen[#befallen + 1] = event .. " " .. reason .. " " .. attempt_of(t.lease) .. " " .. t.worker .. " " .. t.id
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
  delay = math.min(delay, 1e12) -- as text it must stay a whole number
  if policy.jitter then delay = math.random() * delay end
  return math.floor(delay)
end

-- Puts a line behind those before and keeps the newest `most`.
local function append_line(lines, line, most)
  if not lines then return line end
  lines = lines .. "\n" .. line
  local count = select(2, string.gsub(lines, "\n", "")) + 1
  for _ = 1, count - most do lines = match(lines, "\n(.*)$") end
  return lines
end

-- An attempt that is over, as a line of JSON for the history. All but the error is known to need no escapes.
local function history_line(attempt, worker, started, outcome, error)
  worker = worker == "?" and "" or ',"worker":"' .. worker .. '"'
  local told = error and ',"error":' .. cjson.encode(sub(error, 1, 500)) or ""
  return '{"attempt":' .. attempt .. worker .. ',"started_at":' .. started .. ',"ended_at":' .. now_text .. ',"outcome":"' .. outcome .. '"'
    .. told .. "}"
end

local function remember(t, outcome, error)
  local line = history_line(attempt_of(t.lease), t.worker, t.started, outcome, error)
  rare(t).history = append_line(rare(t).history, line, MAX_HISTORY)
end

-- What a task gives up that will neither wait nor run any more: its bytes and its unique key. Who watches it is told.
local function let_go(t)
  local key = rare(t).unique
  if max_bytes > 0 then hold(-size_of(t.id, t.rest)) end
  if key and redis.call("GET", unique .. key) == t.id then redis.call("DEL", unique .. key) end
  if rare(t).watched then redis.call("PUBLISH", ended, t.id) end
end

-- What every end has in common. The caller has taken the task out of where it stood.
local function finish(t, state, set, score)
  t.state, t.finished = state, now_text
  save(t)
  join(set, score, t.id)
  let_go(t)
end

local function bury(t, reason)
  buried = buried + 1
  befall("dead", reason, t)
  rare(t).reason = reason
  finish(t, "dead", dead, now)
end

-- Deletes a task that waits or has ended, with what is its own. The caller has taken it out of where it stood.
local function forget(t)
  if t.finished == "0" then
    leave(expiring, t.id)
    let_go(t)
  end
  redis.call("UNLINK", task .. t.id, payload .. t.id)
  opened[t.id] = false
end

local function end_cancelled(t, retention) finish(t, "cancelled", cancelled, now + retention) end

--[[ The one place where a budget is judged: a failure's, a lapsed lease's, a release's. The caller takes the
  task out of `leases`.
  fault      counter: the field that counts it; budget: how many are allowed; reason: what a dead task says;
             delay: ms until the next attempt; front: at the head of its list; final: no further attempt
  answers    "requeued" | "moved_to_dlq" ]]
local function retry_or_bury(t, policy, fault)
  local count = t[fault.counter] + 1
  t[fault.counter] = int(count)
  local starts = now + fault.delay
  if fault.final or count > fault.budget then
    bury(t, fault.reason)
    return "moved_to_dlq"
  end
  if policy.expires > 0 then
    if starts > policy.expires then
      bury(t, "expired")
      return "moved_to_dlq"
    end
    join(expiring, policy.expires, t.id)
  end
  save(t)
  if fault.delay > 0 then
    t.state = "retrying"
    join(due, starts, t.id)
  else
    t.state = "queued"
    make_ready(t.id, policy.priority, fault.front)
  end
  return "requeued"
end

-- The first `limit` ids of a set whose time has come, and the keys of their tasks, which are read.
local function load_past(set, limit)
  local ids = redis.call("ZRANGE", set, "-inf", now_text, "BYSCORE", "LIMIT", 0, limit)
  return ids, load(ids)
end

-- Moves up to `limit` tasks whose time has come from `due` to ready. Answers how many it looked at.
local function promote_due(limit)
  local ids, keys = load_past(due, limit)
  for i = 1, #ids do
    local id = ids[i]
    leave(due, id)
    -- One that is open was moved just now.
    local text = not opened[id] and loaded[id] or ""
    local state = match(text, "^%a+")
    local policy = (state == "scheduled" or state == "retrying") and policy_in(text, #state)
    if policy and policy.priority then
      write(id, keys[i], "queued" .. sub(text, #state + 1))
      make_ready(id, policy.priority)
    end
  end
  return #ids
end

-- Of a task with nothing rare, no backoff and crashes left, as most are when all of a fleet's leases lapse at once: what
-- reap_lapsed does, straight from text to text, in half of the time. False, and nothing done, where it is not that.
local PLAINLY_LEASED = "^processing (0 (%d+)%S+ (%d+) (%S+) %d+ )(%d+)( %d+ %d+\n(%d+ %d+ %d+ %d+)\n)\n()"
-- The history that it gets, as history_line and JSON spell it, in parts: to encode it anew was a tenth of what this takes.
local HISTORY, ATTEMPT, BY, SINCE = '{"history":"', '{\\"attempt\\":', ',\\"worker\\":\\"', ',\\"started_at\\":'
local UNTIL, CRASHED = ',\\"ended_at\\":', ',\\"outcome\\":\\"crashed\\"}"}\n'
local function lapse_plainly(id, key)
  local text = loaded[id]
  local head, attempt, started, worker, crashes, rest, asked, body = match(text or "", PLAINLY_LEASED)
  local policy = head and not opened[id] and read_policy(asked)
  if not policy or crashes + 1 > policy.max_crashes then return false end
  local by = worker == "?" and "" or BY .. worker .. '\\"'
  local history = HISTORY .. ATTEMPT .. attempt .. by .. SINCE .. started .. UNTIL .. now_text .. CRASHED
  write(id, key, "queued " .. head .. int(crashes + 1) .. rest .. history .. sub(text, body))
  lapsed = lapsed + 1
  befallen[#befallen + 1] = "lapsed crashed " .. attempt .. " " .. worker .. " " .. id
  make_ready(id, policy.priority)
  return true
end

-- Takes back up to `limit` leases that have lapsed and judges their tasks. Answers how many it looked at.
local function reap_lapsed(limit, retention)
  local ids, keys = load_past(leases, limit)
  for i = 1, #ids do
    local id = ids[i]
    leave(leases, id)
    local t = not lapse_plainly(id, keys[i]) and open(id)
    if t and t.state == "processing" then
      lapsed = lapsed + 1
      local policy = read_policy(t.policy)
      local late = policy.max_runtime > 0 and now >= t.started + policy.max_runtime
      local reason = late and "timed_out" or "crashed"
      remember(t, reason)
      befall("lapsed", reason, t)
      if rare(t).cancel then
        befall("cancelled", reason, t)
        end_cancelled(t, retention)
      else
        retry_or_bury(t, policy, {
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

-- Ends up to `limit` waiting tasks that were not to start after a time now past. Answers how many it looked at.
local function reap_expired(limit)
  local ids = load_past(expiring, limit)
  for _, id in ipairs(ids) do
    leave(expiring, id)
    local t = open(id)
    if t and (t.state == "scheduled" or t.state == "retrying" or t.state == "queued") then
      leave(due, id)
      bury(t, "expired")
    end
  end
  return #ids
end

-- All three, and not more than `limit` tasks in sum, as a call holds up all others. Answers how many it looked at.
local function move_past(limit, retention)
  local moved = reap_lapsed(limit, retention)
  moved = moved + reap_expired(limit - moved)
  return moved + promote_due(limit - moved)
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

local LOOK_AT = 10 -- ids that no task has left behind, at the head of a ready list

-- Since when the first task of a ready list waits, if it is among the first few ids.
local WAITS = "^queued %d+ %S+ (%d+) %S+ %d+ %d+ %d+ (%d+)\n(%d) " -- the beginning of HEAD
local function waits_since(priority)
  local list = ready .. priority
  for i = 0, LOOK_AT - 1 do
    local id = redis.call("LINDEX", list, i)
    if not id then return nil end
    local started, created, of = string.match(redis.call("GET", task .. id) or "", WAITS)
    if of == tostring(priority) then return math.max(created, started) end
  end
end

-- All there is to know of a task, or false: its text, its payload where that has its own key, and its scores in
-- `leases` and `due`. `bare`: without that payload, which may be large.
local function describe(id, bare)
  local text = redis.call("GET", task .. id)
  return text
    and { id, text, not bare and redis.call("GET", payload .. id), redis.call("ZSCORE", leases, id), redis.call("ZSCORE", due, id) }
end
