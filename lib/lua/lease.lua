#!lua flags=allow-oom
--[[ lease: hand out the first ready tasks, the highest priority first, after taking back what has lapsed,
  ending what has expired and promoting what is due.
  arguments  limit: how many of these to move at most; retention: ms that a cancelled task is kept; tokens: 22 characters
             for each slot; then for each worker: its name ("?" unknown), and how many slots it has. Tasks go
             round: everybody gets a first before anybody gets a second.
  answers    {next_event (0: there is more to do: ask again at once), handed, lapsed, died_count, timeouts}
             handed: {id, text, payload (only where the text does not hold it), ...} of each task, and not as one
             text, as Lua reads each byte of a text that it makes, some of them twice; lapsed, died_count: how many leases
             have lapsed, and how many tasks are now dead; timeouts: which, where there are any, one line per timeout, `event reason attempt worker id`
  cost       O((n + limit) log L), L = live leases, and O(1,000) where many have left their list
  invariant  `leases` lists exactly the tasks whose state is "processing"; the attempt number in a lease never
             goes back, whatever became of the lease before ]]
local limit, retention, tokens = unpack(ARGV)
local workers_from, fields_each, token_size = 4, 2, 22
local slots = #tokens / token_size
local MIN_GAIN = 50 -- ms from which a rate's next tasks are handed out together
local MAX_HANDED = 300 -- tasks that one call hands out, two fewer for each that it has moved, and
local MAX_PASSED = 600 -- ids left behind that it drops: about 2 ms each, as a call holds up all others

local moved = run_timers(tonumber(limit), retention)
commit()

-- When somebody asked last, to the second: an idle queue is not written to for each poll.
if now - (redis.call("HGET", stats, "polled") or 0) >= 1000 then redis.call("HSET", stats, "polled", now) end

-- While the queue is paused no hint is published: nobody could lease the task. Resuming the queue wakes all clients.
local paused, concurrency, per_second, burst =
  unpack(redis.call("HMGET", settings, "paused", "concurrency", "per_second", "burst"))
if paused then return { next_event(), {}, lapsed, died_count, timeouts[1] and timeouts or nil } end
local allowed, bucket = allowance(concurrency, per_second, burst)

local pop = { "LMPOP", 10 }
for priority = 9, 0, -1 do pop[#pop + 1] = ready .. priority end
pop[#pop + 1] = "LEFT"
pop[#pop + 1] = "COUNT"
local count_at = #pop + 1

local handed, slot, passed, large, large_at = {}, 0, 0, {}, {}
local open_slots, turn = {}, 0
for i = workers_from, #ARGV, fields_each do open_slots[#open_slots + 1] = tonumber(ARGV[i + 1]) end

local function next_worker()
  repeat turn = turn % #open_slots + 1 until open_slots[turn] > 0
  open_slots[turn] = open_slots[turn] - 1
  return ARGV[workers_from + (turn - 1) * fields_each]
end

-- Up to the worker's name the text is written anew; what comes after that stays as it is. All of HEADER is asked for: one
-- that is no task's would end the script behind the pop, and take the others that were popped with it.
local QUEUED = "^queued %d+ (%d%S*) %d+ %S+() %d+ %d+ %d+ %d+\n"

-- What write and join would do is done here: for each task the calls alone would cost as much as that.
local leased, deadlines = values_in(joined, leases), {}

local function hand_out(id, key, lease, policy, rest)
  local attempt = lease == "0" and "1" or int(attempt_of(lease) + 1)
  local token = sub(tokens, slot * token_size + 1, (slot + 1) * token_size)
  local text = "processing 0 " .. attempt .. "." .. token .. " " .. now_text .. " " .. next_worker() .. rest
  local deadline = deadlines[policy] or int(lapse_time(policy, policy.timeout, now))
  deadlines[policy] = deadline
  loaded[id] = text
  local at = 2 * slot
  written[at + 1] = key
  written[at + 2] = text
  leased[at + 1] = deadline
  leased[at + 2] = id
  if policy.expires > 0 then leave(expiring, id) end
  at = #handed
  handed[at + 1] = id
  handed[at + 2] = text
  if byte(text, -1) == 10 then -- it ends where its payload would begin
    handed[at + 3] = ""
    large[#large + 1] = payload .. id
    large_at[#large_at + 1] = at + 3
  end
  slot = slot + 1
end

local room = math.min(slots, math.max(1, MAX_HANDED - 2 * moved))
local most = math.min(room, allowed)
while slot < most and passed < MAX_PASSED do
  pop[count_at] = most - slot
  local popped = redis.call(unpack(pop))
  if not popped then break end
  local priority = sub(popped[1], -1)
  local ids = popped[2]
  local keys = load(ids)
  for i = 1, #ids do
    local id = ids[i]
    local text = loaded[id]
    local lease, rest = match(text or "", QUEUED)
    local policy = lease and policy_in(text, rest)
    if policy and policy.expires > 0 and now > policy.expires and not opened[id] then
      leave(expiring, id)
      mark_dead(open(id), "expired")
      passed = passed + 1
    elseif policy and policy.priority == priority and not opened[id] then
      hand_out(id, keys[i], lease, policy, sub(text, rest))
    else -- left behind by a task that is elsewhere by now, or that had this id before
      passed = passed + 1
    end
  end
end
if #large > 0 then
  -- One that is lost, as by a partial restore, is "", or it would keep all others from being handed out.
  for i, text in ipairs(redis.call("MGET", unpack(large))) do handed[large_at[i]] = text or "" end
end
commit()
publish(slot)
if bucket and slot > 0 then
  bucket = bucket - slot
  redis.call("HSET", stats, "tokens", string.format("%.3f", bucket), "filled", now_text)
end
local stopped = passed >= MAX_PASSED or (slot == room and room < slots)
local event = stopped and 0 or next_event()
if event ~= 0 and slot == most and most < room and bucket and bucket < 1 then
  -- There may be more to hand out as soon as its rate allows.
  local gained = math.max(MIN_GAIN, math.ceil((1 - bucket) * 1000 / per_second))
  event = event < 0 and gained or math.min(event, gained)
end
return { event, handed, lapsed, died_count, timeouts[1] and timeouts or nil }
