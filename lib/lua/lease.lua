#!lua flags=allow-oom
--[[ lease: hand out the first ready tasks, the highest priority first. Before that, end lapsed leases and expired tasks,
  and make tasks ready whose delay is over.
  arguments  limit: how many tasks the timers may move; retention: ms that a cancelled task is kept; tokens: 22 characters
             for each slot; registered: 1 if the broker knows that the queue is registered; then for each worker: its name
             ("?": it gave none) and its number of slots. Tasks are dealt in turn: every worker gets a first task before any
             gets a second.
  answers    {next_event, handed, timeouts}
             next_event: see next_event; 0: there is more to do or to lease, so call again at once
             handed: {id, text, payload (only if it has its own key), ...} for each task, as separate values, because Lua
             reads every byte of a string that it creates
             timeouts: a line for each lease that lapsed and each task that died or was cancelled, `event reason attempt
             worker id time`
  cost       O((n + limit) log L), L = live leases, plus O(600) if many tasks have left the ready lists
  invariant  `leases` lists exactly the tasks whose state is "processing"; the attempt number in a lease never decreases;
             writes nothing for a queue without tasks that is not registered ]]
local limit, retention, tokens, registered = unpack(ARGV)
local workers_from, fields_each, token_size = 5, 2, 22
local slots = #tokens / token_size
local MIN_GAIN = 50 -- ms between two calls that wait for a queue's rate, so that they hand out tasks together
-- A script blocks Redis, so each of these bounds keeps one call to about 2 ms.
local MAX_HANDED = 300 -- tasks per call, two fewer for each task that the timers moved
local MAX_PASSED = 600 -- stale ids in ready lists that one call drops
-- Bytes of texts and payloads per call, unless the first task alone has more. While Redis sends a reply, about 5 ms per MB,
-- all other calls of the connection wait, and within REDIS_TIMEOUT_MS the replies of many queues must fit.
local MAX_BYTES = 4194304

-- To the second, so that polls do not write to an idle queue each time. A poll of a made-up name writes nothing, because
-- nobody would ever delete it.
local was_set_back = note_poll(registered == "1" and 1000 or math.huge)
local moved = 0
if was_set_back or next_event() == 0 then
  moved = run_timers(tonumber(limit), retention, was_set_back)
  commit()
end

-- While the queue is paused no hint is published: nobody could lease the task. Resuming the queue wakes all clients.
local paused, concurrency, rates, per_second, burst =
  unpack(redis.call("HMGET", settings, "paused", "concurrency", "rates", "per_second", "burst"))
if paused then return { next_event(), {}, timeouts } end
local allowed, levels, set_back = math.huge, nil, false
if concurrency or rates or per_second then
  rates = read_rates(rates, per_second, burst)
  allowed, levels, set_back = allowance(concurrency, rates)
end

local pop = {
  "LMPOP", "10", ready .. "9", ready .. "8", ready .. "7", ready .. "6", ready .. "5", ready .. "4", ready .. "3",
  ready .. "2", ready .. "1", ready .. "0", "LEFT", "COUNT",
}
local count_at = #pop + 1

local handed, slot, passed, large, large_at = {}, 0, 0, {}, {}
local bytes, is_full, expired = 0, false, {}
local open_slots, turn = {}, 0
for i = workers_from, #ARGV, fields_each do open_slots[#open_slots + 1] = tonumber(ARGV[i + 1]) end

local function next_worker()
  repeat turn = turn % #open_slots + 1 until open_slots[turn] > 0
  open_slots[turn] = open_slots[turn] - 1
  return ARGV[workers_from + (turn - 1) * fields_each]
end

-- Derives the new text from the old one: submit, lease and settle together take 15.4 µs of Redis CPU per task in batches of
-- 100, and 18.0 µs if this opens and saves a table. Does the work of write and join inline for the same reason.
local leased, deadlines = values_in(joined, leases), {}

local function hand_out(id, key, lease, policy, group, rest)
  local attempt = lease == "0" and "1" or int(attempt_of(lease) + 1)
  local token = sub(tokens, slot * token_size + 1, (slot + 1) * token_size)
  local text = LEASED .. attempt .. "." .. token .. STARTED .. next_worker() .. rest
  local deadline = deadlines[policy.shared] or int(lapse_time(policy, policy.timeout, now))
  deadlines[policy.shared] = deadline
  loaded[id] = text
  local at = 2 * slot
  written[at + 1] = key
  written[at + 2] = text
  leased[at + 1] = deadline
  leased[at + 2] = id
  if policy.expires > 0 then leave(expiring, id) end
  if group then groups.enter(group, id) end
  at = #handed
  handed[at + 1] = id
  handed[at + 2] = text
  if byte(text, -1) == 10 then -- has_own_payload, without the call
    handed[at + 3] = ""
    large[#large + 1] = payload .. id
    large_at[#large_at + 1] = at + 3
  end
  slot = slot + 1
end

-- Hands out a popped task of this priority and group, and returns true, unless its id is stale, the task has expired, or
-- it would exceed the bytes of this call: then is_full, and the caller returns it to where it was popped.
local function try_hand_out(id, key, priority, group)
  local text = loaded[id]
  local lease, rest = match(text or "", QUEUED)
  local policy, _, own_group
  if lease then policy, _, own_group = policy_in(text, rest) end
  if not policy or policy.priority ~= priority or own_group ~= group then
    -- It has left this list, or was deleted.
    passed = passed + 1
    return false
  end
  if policy.expires > 0 and now > policy.expires then
    expired[#expired + 1] = id
    passed = passed + 1
    return false
  end
  bytes = bytes + size_of(id, text)
  is_full = bytes > MAX_BYTES
  if is_full and slot > 0 then return false end
  hand_out(id, key, lease, policy, group, sub(text, rest))
  return true
end

-- The ids and the groups of the turns among popped entries. Most queues have no turns: their entries are not copied.
local function split_turns(entries)
  local ids, turns = entries, {}
  for i = 1, #entries do
    local is_turn = byte(entries[i]) == TURN
    if is_turn and ids == entries then ids = { unpack(entries, 1, i - 1) } end
    if is_turn then
      turns[#turns + 1] = sub(entries[i], 2)
    elseif ids ~= entries then
      ids[#ids + 1] = entries[i]
    end
  end
  return ids, turns
end

local room = math.min(slots, math.max(1, MAX_HANDED - 2 * moved))
local most = math.min(room, allowed)

-- Serves the turns of groups in rounds: one task of each group per round, as if every turn went back to the end of the line
-- in between. `whole`: these turns were the rest of the line, so they share the open slots; otherwise each gets one task.
local function serve_turns(names, priority, whole)
  local share, extra = 1, 0
  if whole then share, extra = math.floor((most - slot) / #names), (most - slot) % #names end
  local hands, singles, goes_back = groups.take(names, priority, share, extra)
  local ids, at = {}, 0 -- at: of the last single id that was served
  for i = 1, #names do
    if singles[i] then ids[#ids + 1] = singles[i] end
  end
  for _, hand in ipairs(hands) do
    for _, id in ipairs(hand.ids) do ids[#ids + 1] = id end
    if #hand.ids == 0 then passed = passed + 1 end -- a turn that leaves the line
  end
  local keys = load(ids)
  local function serve(id, key, name)
    if not is_full and try_hand_out(id, key, priority, name) then return 1 end
    if is_full then groups.push(name, priority, id, true) end
    return 0
  end
  local back, back_after = {}, {} -- those that gave fewer tasks go first
  for i = 1, #names do
    local single = singles[i]
    if single then
      at = at + 1
      local leased = serve(single, keys[at], names[i])
      if goes_back[i] then
        local values = leased == 0 and back or back_after
        values[#values + 1] = "=" .. names[i]
      end
    else
      local hand = hands[i - at]
      local id = hand.ids[1]
      if id then hand.leased = serve(id, task .. id, hand.name) end
    end
  end
  for round = 2, hands[1] and share + 1 or 0 do
    for _, hand in ipairs(hands) do
      local id = hand.ids[round]
      if id then hand.leased = hand.leased + serve(id, task .. id, hand.name) end
    end
  end
  for leased = 0, hands[1] and share + 1 or -1 do
    for _, hand in ipairs(hands) do
      if hand.leased == leased then back[#back + 1] = groups.settle_turn(hand, priority) end
    end
  end
  in_chunks("RPUSH", back, ready .. priority)
  in_chunks("RPUSH", back_after, ready .. priority)
end

-- Pops entries and hands out the ids among them. Returns the turns among them, their priority, and whether these entries
-- were the rest of the line; nothing if the call is complete.
local function hand_out_next()
  if slot >= most or passed >= MAX_PASSED or is_full then return end
  local count = most - slot
  pop[count_at] = int(count)
  local popped = redis.call(unpack(pop))
  if not popped then return end
  local priority = sub(popped[1], -1)
  local entries = popped[2]
  local ids, turns = split_turns(entries)
  local keys = load(ids)
  local first_left
  for i = 1, #ids do
    if not try_hand_out(ids[i], keys[i], priority) and is_full then
      first_left = ids[i]
      break
    end
  end
  if not is_full then return turns, priority, #entries < count end
  -- The ids from here on go back to where they were popped, and the turns. They were ready before, so no hint is published.
  local back, is_left = values_in(to_head, priority), false
  for _, entry in ipairs(entries) do
    is_left = is_left or entry == first_left
    if is_left or byte(entry) == TURN then back[#back + 1] = entry end
  end
end

local turns, turn_priority, whole
repeat turns, turn_priority, whole = hand_out_next() until not turns or turns[1]
if turns then
  open_groups()
  repeat
    if turns[1] then serve_turns(turns, turn_priority, whole) end
    turns, turn_priority, whole = hand_out_next()
  until not turns
end
if #expired > 0 then
  for _, id in ipairs(expired) do
    local t = open(id)
    if t.state == "queued" then -- not twice, if its id was in the list twice
      leave(expiring, id)
      mark_dead(t, "expired")
    end
  end
end
if #large > 0 then
  -- A lost payload, for example after a partial restore, is "", so that the reply holds strings only.
  for i, text in ipairs(redis.call("MGET", unpack(large))) do handed[large_at[i]] = text or "" end
end
commit()
publish(slot)
if rates and (slot > 0 or set_back) then
  redis.call("HSET", stats, "tokens", spend(levels, slot), "filled", now_text)
end
local stopped = passed >= MAX_PASSED or (is_full and slot < slots) or (slot == room and room < slots)
local event = stopped and 0 or next_event()
if rates and event ~= 0 and slot == most and most < room then
  local gained = ms_until(rates, levels, 1)
  if gained > 0 then
    -- More tasks can be leased as soon as the queue's rates allow it.
    gained = math.max(MIN_GAIN, gained)
    event = event < 0 and gained or math.min(event, gained)
  end
end
return { event, handed, timeouts }
