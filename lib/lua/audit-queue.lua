#!lua flags=allow-oom
--[[ audit-queue: check that tasks, and the entries and keys that belong to them, are consistent, and repair them. Every check
  is made in the call that repairs: what the caller read may have changed since.
  arguments  began: ms when the caller began to read the ready lists; fix: 1 repairs, 0 only reports; retention: ms that a
             done or cancelled task is kept; then for each: what: "task", "payload", "unique", or the set of an entry:
             "due", "leases", "done", "dead", "cancelled", "expiring"; id: of the task, or the unique key; more: for a
             task 1 if its id may be in a ready list or in `completed`, 0 if it was in none
             what "completed": an entry of this list
             what "unlisted": a task that was in no list when the caller looked again; more: its lease at that time
             what "group", "turn", "waiting": of the entry `id` (a priority and a group) its ids, a turn in a ready list, and
             the length of its list; more: for a group 1 if the caller saw its turn exactly once
             what "busy": the member `id`; what "grouped": the counts of the queue
             what "bytes": the recorded byte count of the queue is too high by `id` bytes
             what "schedules", "planned": the schedule, or the entry, of the name `id`
  answers    {now, recorded bytes, bytes that these tasks occupied when the audit began (-1: unknown), how many items were
             checked: fewer than all if their texts or the lists that it searched are large,
             {index, fault, repaired (1 or 0), lease}, ...}
             index: of the item, from 0; the faults:
             "not_listed"      queued, but in no ready list (for a "task" unproven, or done and in no list: look again); appended
                               to its list
             "no_lease"        processing, but not in `leases`; its lease lapses now
             "no_due"          scheduled or retrying, but not in `due`; ready now
             "no_index"        ended, but not in the set of its state; added
             "no_expiry"       has an expiry, but is not in `expiring`; added
             "no_owner"        its unique key is free: taken; or held by another task: not repaired
             "no_payload"      its payload is lost; not repaired
             "unreadable"      the text is not that of a task; not repaired
             "no_plan"         a schedule without its entry in `planned`, or one that would never run; added
             "stray_entry"     an entry whose task or schedule does not exist or is in another place; removed
             "no_turn"         a group with waiting tasks is neither in line nor held; its turn goes to the end of the line
             "stray_turn"      a turn of a group without waiting tasks, or a second turn; removed
             "no_slot"         a leased task has no slot of its group; added
             "stray_slot"      a slot of a task that is not leased; freed
             "wrong_count"     a recorded number of waiting tasks of groups is wrong; corrected
             "stray_payload"   a payload that belongs to no task; deleted
             "stray_key"       a unique key whose task does not exist or has ended; deleted
             "wrong_bytes"     the recorded byte count is not the sum over the tasks; corrected
  cost       O(n log N): about 1 ms for 150 items. Searches of lists take up to 2 ms per 100,000 entries: a call ends when it
             has searched so many, but it searches `completed` whole
  invariant  writes nothing if there is no fault; safe to run twice ]]
local began, fix, retention = unpack(ARGV)
local first, fields_each = 4, 3
began, fix = tonumber(began), fix == "1"

local SETS = { due = due, leases = leases, done = done, dead = dead, cancelled = cancelled, expiring = expiring }
local PLACES = {
  scheduled = "due", retrying = "due", processing = "leases", done = "done", dead = "dead", cancelled = "cancelled",
}
local NO_ENTRY = { due = "no_due", leases = "no_lease", dead = "no_index", cancelled = "no_index" }
local ENDED = { done = true, dead = true, cancelled = true }

local MAX_LOOKED = 100000 -- list entries after which a call stops searching; longer ready lists are not searched
local MAX_COUNTED = 1000 -- entries of groups of which one check adds up the lengths

local NO_EXTRAS = {}
local MAX_BYTES = 4000000 -- of texts in one call, exceeded by one text at most

local answer = { now, tonumber(redis.call("HGET", stats, "bytes") or 0), 0, 0 }
local index = 0
local is_exact = true -- false: a task changed in the millisecond in which the audit began, before or after the byte count was read

-- Records a fault, and repairs it by calling `repair`.
local function note(fault, repair, ...)
  if fix and repair then repair(...) end
  answer[#answer + 1] = { index, fault, fix and repair and 1 or 0, "" }
end

-- The parts of a task, the state first: nil if there is no task, false if its text cannot be read. Returns no table,
-- because building one would be most of the cost per task.
local function read(id)
  if loaded[id] == nil then load({ id }) end
  local text = loaded[id]
  if not text then return nil end
  local state, finished, lease, started, created, policy_line, extras_json, rest = match(text, AUDITED)
  if not state or not (PLACES[state] or state == "queued") then return false end
  local policy = read_policy(policy_line)
  if not policy.priority or #policy.priority ~= 1 then return false end
  local readable, task_extras = true, NO_EXTRAS
  if extras_json ~= "" then readable, task_extras = pcall(cjson.decode, extras_json) end
  if not readable then return false end
  return state, policy, task_extras, rest, lease, tonumber(started), tonumber(created), tonumber(finished)
end

-- The score of a missing entry. If the time of a lease or delay is lost, it is over now.
local function score_of(state, policy, finished)
  if not ENDED[state] then return now end
  if state == "dead" then return finished end
  return finished + (state == "done" and policy.result_ttl >= 0 and policy.result_ttl or retention)
end

local function set_owner(key, id) redis.call("SET", unique .. key, id) end
local function delete(key) redis.call("UNLINK", key) end

local scores = {} -- by set and id

local check = {} -- by `what`

function check.task(id, listed)
  local state, policy, task_extras, rest, lease, started, created, finished = read(id)
  if state == nil then return end
  if not state then return note("unreadable") end
  local place = PLACES[state]
  if state == "queued" or state == "done" and not scores.done[id] then
    -- A task that moved since then may have joined its list after the caller read it.
    if listed == "0" and created < began and started < began and finished < began then
      note("not_listed")
      answer[#answer][4] = lease
    end
  elseif not scores[place][id] then
    note(NO_ENTRY[place], join, SETS[place], score_of(state, policy, finished), id)
  end
  if is_waiting(state) and policy.expires > 0 and not redis.call("ZSCORE", expiring, id) then
    note("no_expiry", join, expiring, policy.expires, id)
  end
  if has_own_payload(loaded[id]) and redis.call("EXISTS", payload .. id) == 0 then note("no_payload") end
  if state == "processing" and policy.group and not open_groups().has_slot(policy.group, id) then
    note("no_slot", groups.enter, policy.group, id)
  end
  local key = task_extras.unique
  if key and not ENDED[state] then
    local owner = redis.call("GET", unique .. key)
    if owner ~= id then note("no_owner", not owner and set_owner, key, id) end
  end
  if max_bytes > 0 and (created == began or finished == began) then
    is_exact = false
  elseif max_bytes > 0 and created < began and (finished == 0 or finished > began) then
    answer[3] = answer[3] + size_of(id, sub(loaded[id], rest))
  end
end

function check.unlisted(id, lease)
  local state, policy, _, _, held_lease, _, _, finished = read(id)
  if held_lease ~= lease then return end
  if state == "queued" then note("not_listed", make_ready, id, policy.priority, false, policy.group) end
  if state == "done" then note("no_index", join, done, score_of(state, policy, finished), id) end
end

local looked = 0 -- entries of the lists that this call has searched

local function remove_completed(id) redis.call("LREM", completed, -1, id) end

-- An earlier version may have added a task to `done`, and the entry of a task that is not done is stray. It may have left the
-- list since the caller read it.
function check.completed(id)
  local state = read(id)
  if state == "done" then
    if redis.call("ZSCORE", done, id) then note("stray_entry", leave, done, id) end
  elseif state ~= false then
    looked = looked + redis.call("LLEN", completed)
    if redis.call("LPOS", completed, id, "RANK", -1) then note("stray_entry", remove_completed, id) end
  end
end

function check.payload(id)
  local state = read(id)
  if state == false or state and has_own_payload(loaded[id]) then return end
  if redis.call("EXISTS", payload .. id) == 1 then note("stray_payload", delete, payload .. id) end
end

function check.unique(key)
  local owner = redis.call("GET", unique .. key)
  if not owner then return end
  local state, _, task_extras = read(owner)
  if state == false then return end
  if not state or ENDED[state] or task_extras.unique ~= key then note("stray_key", delete, unique .. key) end
end

-- How many turns an entry has in its ready list: 2 stands for more. nil: the line is too long to search, and to remove one.
local function turns_in_line(priority, turn)
  local length = redis.call("LLEN", ready .. priority)
  if length > MAX_LOOKED then return end
  looked = looked + length
  return #redis.call("LPOS", ready .. priority, turn, "COUNT", 2)
end

local function remove_turns(priority, turn, count)
  for _ = 1, redis.call("LREM", ready .. priority, -count, turn) do groups.drop_turn(priority) end
end

function check.group(entry, seen)
  local priority, turn = sub(entry, 1, 1), "=" .. sub(entry, 2)
  local size, length, recorded, held = open_groups().facts(entry)
  if size == 0 then return end
  if length ~= recorded then note("wrong_count", groups.correct_length, entry) end
  -- A turn that the caller saw may be held by now.
  local turns = seen == "1" and not held and 1 or turns_in_line(priority, turn)
  if not turns then return end
  if turns > 1 then note("stray_turn", remove_turns, priority, turn, turns - 1) end
  if turns > 0 and held then note("stray_turn", leave, expiring, "=" .. entry) end
  if turns == 0 and not held then note("no_turn", groups.return_turn, priority, sub(entry, 2)) end
end

function check.turn(entry)
  if open_groups().facts(entry) > 0 then return end
  local priority, turn = sub(entry, 1, 1), "=" .. sub(entry, 2)
  if (turns_in_line(priority, turn) or 0) > 0 then note("stray_turn", remove_turns, priority, turn, 2) end
end

function check.waiting(entry)
  local _, length, recorded = open_groups().facts(entry)
  if length == 0 and recorded > 0 then note("wrong_count", groups.correct_length, entry) end
end

function check.busy(member)
  local group, id = match(member, "^(.*)\n(.*)$")
  local state, policy = read(id)
  if state == false or not open_groups().has_slot(group, id) then return end
  local right = state and policy.group == group
    and (state == "processing" or groups.may_keep_slot(group, state))
  if not right then note("stray_slot", groups.leave, group, id) end
end

function check.grouped()
  for priority, difference in pairs(open_groups().wrong_counts(MAX_COUNTED)) do
    note("wrong_count", groups.count, priority, difference)
  end
end

local function check_entry(set, id)
  if byte(id) == TURN then
    if open_groups().facts(sub(id, 2)) == 0 then note("stray_turn", leave, expiring, id) end
    return
  end
  local state, policy = read(id)
  if state == false or not scores[set][id] then return end
  local right = state and PLACES[state] == set
  if set == "expiring" then right = state and is_waiting(state) and policy.expires > 0 end
  if not right then note("stray_entry", leave, SETS[set], id) end
end

function check.schedules(name)
  local text = redis.call("HGET", schedules, name)
  if not text then return end
  local _, plan, _, _, _, _, paused = match(text, SCHEDULE)
  if not plan then return note("unreadable") end
  local runs = plan ~= "0" and paused == "0"
  local score = redis.call("ZSCORE", planned, name)
  if not score or runs == (score == "inf") then note("no_plan", redis.call, "ZADD", planned, runs and plan or "+inf", name) end
end

function check.planned(name)
  if redis.call("HEXISTS", schedules, name) == 0 then note("stray_entry", redis.call, "ZREM", planned, name) end
end

function check.bytes(excess)
  if max_bytes > 0 then
    note("wrong_bytes", add_bytes, -excess)
  elseif redis.call("HEXISTS", stats, "bytes") == 1 then -- the byte limit was removed
    note("wrong_bytes", redis.call, "HDEL", stats, "bytes")
  end
end

local ids_by_set, read_bytes, last = {}, 0, #ARGV

-- Reads the scores by one command per set: one per entry would cost more than everything else.
for i = first, #ARGV, fields_each do
  if read_bytes >= MAX_BYTES then
    last = i - 1
    break
  end
  local what = ARGV[i]
  local id = ARGV[i + 1]
  load({ id })
  read_bytes = read_bytes + #(loaded[id] or "")
  local set = SETS[what] and what or what == "task" and PLACES[match(loaded[id] or "", STATE)]
  if set then
    ids_by_set[set] = ids_by_set[set] or {}
    table.insert(ids_by_set[set], id)
  end
end
for set, set_ids in pairs(ids_by_set) do
  scores[set] = {}
  for i, score in ipairs(redis.call("ZMSCORE", SETS[set], unpack(set_ids))) do scores[set][set_ids[i]] = score end
end

for i = first, #ARGV, fields_each do
  if i > last or looked >= MAX_LOOKED then break end
  local what, id, more = unpack(ARGV, i, i + fields_each - 1)
  if SETS[what] then
    check_entry(what, id)
  else
    check[what](id, more)
  end
  index = index + 1
end
if not is_exact then answer[3] = -1 end
answer[4] = index
commit()
publish(0)
return answer
