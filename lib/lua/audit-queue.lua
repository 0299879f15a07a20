#!lua flags=allow-oom
--[[ audit-queue: check whether tasks, and what belongs to them, stand where they should, and mend what does not. All is
  judged here, in the step that mends it: what the caller saw may have moved since.
  arguments  began: ms, when the caller began to read the ready lists; fix: 1 mends, 0 only tells; retention: ms that a
             done or cancelled task is kept; then for each: what it is: "task", "payload", "unique", or where an entry
             stands: "due", "leases", "done", "dead", "cancelled", "expiring"; its id, or the unique key; more:
             of a task 1 where its id may be in a ready list, 0 where it was in none.
             Or "unlisted": a task that was in no list when it was looked for again; more: its lease then.
             Or "bytes": how many too many, in the place of the id, the queue is said to hold
  answers    {now, bytes that the queue is said to hold, counted (bytes that these tasks held when it began),
             {index, fault, mended (1 or 0), lease}, ...}     index: of the item, from 0; the faults:
             "not_listed"      queued, and in no ready list (of a "task" a guess: look again); mended: it is in its list
             "no_lease"        processing, and not among the leases: lapsed now
             "no_due"          scheduled or retrying, and not among the due: due now
             "no_index"        ended, and not where such are: it is there
             "no_expiry"       it expires, and is not among the expiring: it is
             "no_owner"        its unique key is nobody's: it is its own; or another's: not mended
             "no_payload"      its payload is lost: not mended
             "unreadable"      no task's text: not mended
             "stray_entry"     an entry whose task is not there, or elsewhere: removed
             "stray_payload"   a payload without a task that needs it: deleted
             "stray_key"       a unique key whose owner is not there, or has ended: deleted
             "wrong_bytes"     the bytes are not what tasks hold: they are
  cost       O(n log N): about 1 ms for 150
  invariant  where all is well nothing is written; safe to run twice ]]
local began, fix, retention = unpack(ARGV)
local first, fields_each = 4, 3
began, fix = tonumber(began), fix == "1"

local SETS = { due = due, leases = leases, done = done, dead = dead, cancelled = cancelled, expiring = expiring }
local PLACES = {
  scheduled = "due", retrying = "due", processing = "leases", done = "done", dead = "dead", cancelled = "cancelled",
}
local NO_ENTRY = {
  due = "no_due", leases = "no_lease", done = "no_index", dead = "no_index", cancelled = "no_index",
}
local WAITS = { scheduled = true, retrying = true, queued = true }
local ENDED = { done = true, dead = true, cancelled = true }

-- As much of a text as is judged: state finished lease started created, policy, the extras, and where the type begins.
local TEXT = "^(%a+) (%d+) (%S+) (%d+) %S+ %d+ %d+ %d+ (%d+)\n([^\n]*)\n([^\n]*)\n()"
local NOTHING = {}

local answer = { now, tonumber(redis.call("HGET", stats, "bytes") or 0), 0 }
local index = 0

-- Notes a fault, and mends it by doing this.
local function note(fault, mend, ...)
  if fix and mend then mend(...) end
  answer[#answer + 1] = { index, fault, fix and mend and 1 or 0, "" }
end

-- A task's parts, the state first: nil where there is no task, false where nobody can read it. No table: it is most
-- of what a task costs here.
local function read(id)
  if loaded[id] == nil then load({ id }) end
  local text = loaded[id]
  if not text then return nil end
  local state, finished, lease, started, created, asked, few, rest = string.match(text, TEXT)
  if not state or not (PLACES[state] or state == "queued") then return false end
  local policy = read_policy(asked)
  if not policy.priority or #policy.priority ~= 1 then return false end
  local whole, extras_of = true, NOTHING
  if few ~= "" then whole, extras_of = pcall(cjson.decode, few) end
  if not whole then return false end
  return state, policy, extras_of, rest, lease, tonumber(started), tonumber(created), tonumber(finished)
end

local function has_own_payload(id) return string.byte(loaded[id], -1) == 10 end

-- Where an entry that is missing belongs. What waits for a time that nobody knows any more, waits no longer.
local function score_of(state, policy, finished)
  if not ENDED[state] then return now end
  if state == "dead" then return finished end
  return finished + (state == "done" and policy.result_ttl >= 0 and policy.result_ttl or retention)
end

local function set_owner(key, id) redis.call("SET", unique .. key, id) end
local function delete(key) redis.call("UNLINK", key) end

local scores = {} -- by set and id, of those that are asked about

local look = {}

function look.task(id, listed)
  local state, policy, few, rest, lease, started, created, finished = read(id)
  if state == nil then return end
  if not state then return note("unreadable") end
  local place = PLACES[state]
  if place and not scores[place][id] then
    note(NO_ENTRY[place], join, SETS[place], score_of(state, policy, finished), id)
  end
  -- What has moved since then may have come into its list behind the reader.
  if state == "queued" and listed == "0" and created < began and started < began then
    note("not_listed")
    answer[#answer][4] = lease
  end
  if WAITS[state] and policy.expires > 0 and not redis.call("ZSCORE", expiring, id) then
    note("no_expiry", join, expiring, policy.expires, id)
  end
  if has_own_payload(id) and redis.call("EXISTS", payload .. id) == 0 then note("no_payload") end
  local key = few.unique
  if key and not ENDED[state] then
    local owner = redis.call("GET", unique .. key)
    if owner ~= id then note("no_owner", not owner and set_owner, key, id) end
  end
  if max_bytes > 0 and created <= began and (finished == 0 or finished > began) then
    answer[3] = answer[3] + size_of(id, string.sub(loaded[id], rest))
  end
end

function look.unlisted(id, lease)
  local state, policy, _, _, held_lease = read(id)
  if state == "queued" and held_lease == lease then note("not_listed", make_ready, id, policy.priority) end
end

function look.payload(id)
  local state = read(id)
  if state == false or state and has_own_payload(id) then return end
  if redis.call("EXISTS", payload .. id) == 1 then note("stray_payload", delete, payload .. id) end
end

function look.unique(key)
  local owner = redis.call("GET", unique .. key)
  if not owner then return end
  local state, _, few = read(owner)
  if state == false then return end
  if not state or ENDED[state] or few.unique ~= key then note("stray_key", delete, unique .. key) end
end

local function look_at_entry(set, id)
  local state, policy = read(id)
  if state == false or not scores[set][id] then return end
  local right = state and PLACES[state] == set
  if set == "expiring" then right = state and WAITS[state] and policy.expires > 0 end
  if not right then note("stray_entry", leave, SETS[set], id) end
end

function look.bytes(excess)
  if max_bytes > 0 then
    note("wrong_bytes", add_bytes, -excess)
  elseif redis.call("HEXISTS", stats, "bytes") == 1 then -- of a limit that is no more
    note("wrong_bytes", redis.call, "HDEL", stats, "bytes")
  end
end

local ids, asked = {}, {}
for i = first, #ARGV, fields_each do ids[#ids + 1] = ARGV[i + 1] end
load(ids)

-- The scores are asked for together: a call for each would cost more than all else.
for i = first, #ARGV, fields_each do
  local what = ARGV[i]
  local id = ARGV[i + 1]
  local set = SETS[what] and what or what == "task" and PLACES[string.match(loaded[id] or "", "^%a*")]
  if set then
    asked[set] = asked[set] or {}
    table.insert(asked[set], id)
  end
end
for set, of in pairs(asked) do
  scores[set] = {}
  for i, score in ipairs(redis.call("ZMSCORE", SETS[set], unpack(of))) do scores[set][of[i]] = score end
end

for i = first, #ARGV, fields_each do
  local what, id, more = unpack(ARGV, i, i + fields_each - 1)
  if SETS[what] then
    look_at_entry(what, id)
  else
    look[what](id, more)
  end
  index = index + 1
end
commit()
publish(0)
return answer
