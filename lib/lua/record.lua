--[[ record: the keys of a queue and the text of a task.
  lib/redis/script-text.ts gives every script the definitions that it uses of this and the other shared files.
  A queue script reads the tasks it needs, changes them, and commits. Its first lines after the shebang, written by
  lib/redis/scripts.ts, define the limits of a queue, max_depth and max_bytes (0: no limit), and the keys of the queue that
  the script uses. If max_bytes is set, `bytes` in `stats` counts what all tasks that have not ended occupy. ]]

local groups = false -- see groups.lua: opened when a call first meets a task with a group
local open_groups

-- Switches to another queue, whose keys differ only in the name. In a Cluster, where queues are in different slots, a call
-- names one queue.
local function use_queue(name)
  local keys = {}
  for i, key in ipairs(KEYS) do keys[i] = string.match(key, "^.-{") .. name .. string.match(key, "}.*$") end
  task, payload, ready, due, leases, done, completed, dead, cancelled, expiring, unique, record, stats, settings, wake, ended,
    schedules, planned = unpack(keys)
  groups = false
end

-- Locals for what runs per task: a global is looked up by name at each use.
local ARGV, find, match, sub, byte = ARGV, string.find, string.match, string.sub, string.byte

local CHUNK = 4000 -- values in one command; unpack fails near 8,000

--[[ A task is one string, so one MGET reads a batch of tasks and one MSET writes it:
    state finished lease started worker retries crashes releases created
    policy
    extras: members that few tasks have, as a JSON object; empty if there are none
    type, as JSON text
    payload, as JSON text; empty if the payload has its own key
  lease is the newest lease, `attempt.token`. "0" means none or never; worker "?" means that the client gave no name.
  lib/task/README.md has an annotated example. Scripts open a task as a table and save it. Hot paths read part of a text
  and derive the new text from the old one instead. All that depends on the format is in this file: each pattern below
  reads the same nine columns, and each function writes them. ]]
local HEADER = "^(%a+) (%d+) (%d%S*) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+)\n(%d+ %d+ %d+ %d+[^\n]*)\n()"

-- submit: the first line of a new task that is ready at once.
local NEW = "queued 0 0 0 ? 0 0 0 " .. now_text .. "\n"

-- lease: lease and the position after the worker. The pattern covers the whole line: a text that only begins like a task
-- would raise an error after the pop, and lose the other tasks that were popped with it.
local QUEUED = "^queued %d+ (%d%S*) %d+ %S+() %d+ %d+ %d+ %d+\n"
-- The new text is LEASED, lease, STARTED, worker, and the old text from that position on.
local LEASED, STARTED = "processing 0 ", " " .. now_text .. " "

-- settle: the start of the text of a leased task, and what replaces it in the text of a done one.
local PROCESSING = "processing 0"
local DONE = "done " .. now_text
local DONE_AT_FROM, DONE_AT_TO = "5", "17" -- the 13 digits of this time in the text

-- The state, which is all that a delayed task changes when it becomes ready.
local STATE = "^%a+"
local function ready_text(text, state) return "queued" .. sub(text, #state + 1) end

-- Whether a task in this state waits for an attempt.
local function is_waiting(state) return state == "queued" or state == "scheduled" or state == "retrying" end

-- sweep: a leased task without extras and backoff: `0 lease started worker retries `, attempt, started, worker, crashes,
-- ` releases created\npolicy\n`, policy, the position of the type.
local LEASED_WITHOUT_EXTRAS = "^processing (0 (%d+)%S+ (%d+) (%S+) %d+ )(%d+)( %d+ %d+\n(%d+ %d+ %d+ %d+)\n)\n()"
local function lapsed_text(before, crashes, after, extras_text, rest)
  return "queued " .. before .. crashes .. after .. extras_text .. "\n" .. rest
end

-- queue-state: started, created and priority of a queued task.
local WAITING_SINCE = "^queued %d+ %S+ (%d+) %S+ %d+ %d+ %d+ (%d+)\n(%d) "

-- leases-by-worker: the worker of a leased task.
local HOLDER = "^processing %d+ %S+ %d+ (%S+) "

-- sweep, merged, page: when a task ended, if it is done.
local DONE_AT = "^done (%d+) "

-- purge: finished is not 0.
local HAS_ENDED = "^%a+ [1-9]"

-- audit-queue: state, finished, lease, started, created, policy, extras, the position of the type.
local AUDITED = "^(%a+) (%d+) (%S+) (%d+) %S+ %d+ %d+ %d+ (%d+)\n([^\n]*)\n([^\n]*)\n()"

-- submit: the body of a new task is its text from the policy on. It begins with the priority, one digit.
local function parts_of_body(body) return match(body, "^([^\n]*)\n([^\n]*)\n(.*)$") end -- policy, extras, type and payload
local function size_of_body(body) return #body - find(body, "\n", find(body, "\n", 1, true) + 1, true) end
local function policy_of_body(body) return match(body, "^[^\n]*") end

-- The policy line with another time after which no attempt starts; "0" for none.
local function with_expiry(policy, expires) return (string.gsub(policy, "^(%d+ %d+ %d+ %d+ %d+) %d+", "%1 " .. expires)) end

-- The policy line with another priority, which is its first digit.
local function with_priority(policy, priority) return priority .. sub(policy, 2) end

-- settle: the end of the line of extras that begins at `from`, if there are none or only members for the worker; otherwise
-- false. The first quote without a backslash before it ends the text of these members.
local function end_of_simple_extras(text, from)
  if byte(text, from) == 10 then return from end
  local quote = find(text, '^{"extra":"', from) and find(text, '[^\\]"', from + 10)
  return quote and sub(text, quote + 2, quote + 3) == "}\n" and quote + 3
end

-- Whether the payload has its own key: the text then ends where the payload would begin.
local function has_own_payload(text) return byte(text, -1) == 10 end

-- What the beginning of a task's text says, without reading the rest, which may be large: its state, nil if there is no such
-- task; and when a done task ended, 0 if it is not done.
local function state_of(id) return match(redis.call("GETRANGE", task .. id, 0, 15), STATE) end
local function done_at(id) return tonumber(match(redis.call("GETRANGE", task .. id, 0, 31), DONE_AT) or 0) end

local TURN = byte("=") -- the first character of a turn; no id begins so (see groups.lua)

local loaded = {} -- texts by id; false: no such task
local opened = {} -- tables by id: one per task and script run
local saved = {} -- tables to write on commit
local written = {} -- keys and texts for MSET

-- Reads these tasks, except those read or written before. Returns their keys.
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

-- Sets the new text of a task that was not opened. The caller passes the key: concatenating it again would cost time.
local function write(id, key, text)
  loaded[id] = text
  local at = #written
  written[at + 1] = key
  written[at + 2] = text
end

local function parse(id, text)
  local state, finished, lease, started, worker, retries, crashes, releases, created, policy, rest =
    match(text, HEADER)
  -- A text that no script could have written counts as no task, so it cannot block the other tasks of its queue.
  if not state then return false end
  return {
    id = id, state = state, finished = finished, lease = lease, started = started, worker = worker, retries = retries,
    crashes = crashes, releases = releases, created = created, policy = policy,
    rest = sub(text, rest), -- extras, type and payload, not parsed
    extras = false,
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

local function read_extras(line) return line == "" and {} or cjson.decode(line) end

-- The extras of a task, by name. Changes are stored when the task is saved.
local function extras(t)
  if not t.extras then
    local text, rest = match(t.rest, "^([^\n]*)\n()")
    t.extras = read_extras(text)
    t.rest = sub(t.rest, rest)
  end
  return t.extras
end

-- Type and payload of a task, as in its text.
local function type_and_payload(t)
  extras(t) -- leaves them in `rest`
  return t.rest
end

-- Replaces type and payload of an opened task. large: the payload, if the text does not contain it.
local function replace_type_and_payload(t, text, large)
  extras(t)
  t.rest = text
  if large == "" then
    redis.call("UNLINK", payload .. t.id)
  else
    redis.call("SET", payload .. t.id, large)
  end
end

local function extras_text(extras) return next(extras) and cjson.encode(extras) or "" end

local function text_of(t)
  local rest = t.rest
  if t.extras then rest = extras_text(t.extras) .. "\n" .. rest end
  return t.state .. " " .. t.finished .. " " .. t.lease .. " " .. t.started .. " " .. t.worker .. " " .. t.retries .. " "
    .. t.crashes .. " " .. t.releases .. " " .. t.created .. "\n" .. t.policy .. "\n" .. rest
end

local policies = {} -- by text: most tasks of a batch have the same policy line

-- Parses a policy line, which lib/task/policy.ts writes. Times in ms; 0: not set. A group
-- follows the policy; then `shared` is the policy without it.
local read_policy
function read_policy(text)
  if policies[text] then return policies[text] end
  local group_at = find(text, " =", 1, true)
  if group_at then
    local policy = setmetatable({ group = sub(text, group_at + 2) }, read_policy(sub(text, 1, group_at - 1)).members)
    policies[text] = policy
    return policy
  end
  local priority, max_retries, max_crashes, timeout, max_runtime, expires, result_ttl, backoff, delay, max_delay, jitter =
    match(text, "^(%d+) (%d+) (%d+) (%d+) ?(%d*) ?(%d*) ?(%-?%d*) ?(%a*) ?(%d*) ?(%d*) ?(%d*)")
  local policy = {
    priority = priority,
    max_retries = tonumber(max_retries),
    max_crashes = tonumber(max_crashes),
    timeout = tonumber(timeout),
    max_runtime = tonumber(max_runtime) or 0, -- limit of one attempt, regardless of extends
    expires = tonumber(expires) or 0, -- no attempt starts after this time
    result_ttl = tonumber(result_ttl) or -1, -- -1: use the broker's retention
    backoff = backoff, -- "", "fixed", "exponential"
    delay = tonumber(delay) or 0,
    max_delay = tonumber(max_delay) or 0,
    jitter = jitter == "1",
  }
  policy.shared, policy.members = policy, { __index = policy }
  policies[text] = policy
  return policy
end

-- The policy in a task's text, the position of its end, and the group; nil if there is none. from: a position in the header.
local function policy_in(text, from)
  local head_end = find(text, "\n", from, true)
  local policy_end = head_end and find(text, "\n", head_end + 1, true)
  if not policy_end then return end
  local asked = sub(text, head_end + 1, policy_end - 1)
  local policy = policies[asked]
  if policy then return policy, policy_end, policy.group end
  local group_at = find(asked, " =", 1, true)
  if not group_at then return read_policy(asked), policy_end end
  -- One policy for tasks of many groups.
  return read_policy(sub(asked, 1, group_at - 1)), policy_end, sub(asked, group_at + 2)
end

-- The attempt number of a lease; 0 if the task was never leased.
local function attempt_of(lease) return tonumber(match(lease, "^%d+")) end

-- Reads a task without parsing it, or returns false: its text, its payload if that has its own key and with_payload is set, and
-- its scores in `leases` and `due`.
local function read_raw(id, with_payload)
  local text = redis.call("GET", task .. id)
  return text
    and {
      id, text, with_payload and redis.call("GET", payload .. id) or false, redis.call("ZSCORE", leases, id),
      redis.call("ZSCORE", due, id),
    }
end
