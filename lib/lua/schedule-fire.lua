#!lua
--[[ schedule-fire: create the tasks of schedules whose time has come, and plan their next runs. Compares first, so that any
  number of brokers may call it for the same time.
  arguments  retention: ms that a cancelled task is kept; ttl: ms that an idempotency record is kept; then for each: name;
             version and planned_at as the caller read them (planned_at "": create a task now and keep the plan); next_at:
             the planned time that follows (0: none); score: when that run starts ("+inf": never); missed: how many planned
             times get no task; at: the time for which a task is created ("": none); overlap: what happens if the newest
             task has not ended: "allow" | "skip" | "cancel"; body, large, options: of the task, as for submit
  answers    now, if each of them created its task and cancelled none; otherwise for each {code, id of the task or the one
             that prevented it, now, cancelled}; cancelled: false, or {id, code, attempt, at} of the newest task, as cancel
             answers them
             "fired"                       the task was created
             "exists"                      a task with the id of this time exists already; the next run is planned
             "skipped"                     the newest task has not ended
             "duplicate"                   a task holds the unique key
             "missed"                      the caller asked for no task
             "stale"                       the schedule has changed since the caller read it: nothing was changed
             "full_depth" | "full_bytes" | "full_group"
                                           the queue or the group has no room: a planned run is retried after a second
             "replayed" | "conflict"       the idempotency key was used before: for this task, or for another request. A repeated
                                           request that got "duplicate" gets it again
  cost       O(n log N), plus O(1,000) for each queued task that it cancels
  invariant  one planned time creates at most one task: whoever creates it moves the plan in the same call ]]
local retention, ttl = unpack(ARGV)
local first, fields_each = 3, 11

local FULL = { full_depth = true, full_bytes = true, full_group = true }
local FULL_RETRY = 1000 -- ms until a run that found no room is retried

local function is_active(id)
  local t = open(id)
  return t and t.finished == "0"
end

-- What is full, if there is no room for a task beside the newest one. If that one waits, the task gets what it occupies.
local function lacks_room(newest, body, large)
  local waits = newest.state ~= "processing"
  local size, group = size_of_new(body, large), read_policy(policy_of_body(body)).group
  local freed = waits and max_bytes > 0 and size_of(newest.id, type_and_payload(newest)) or 0
  -- A task that backs off counts for the queue, but not for its group.
  local frees_group = newest.state == "queued" and read_policy(newest.policy).group == group
  local in_group = group and { [group] = frees_group and 0 or 1 } or {}
  local full = take_room(waits and 0 or 1, math.max(0, size - freed), in_group)
  if full then return full end
  -- `submit` takes the room of the whole task.
  free_depth, free_bytes = free_depth + 1, free_bytes + math.max(size, freed)
  if group then free_in_group[group] = free_of(group) + 1 end
end

-- Tasks that were in a ready list when they were cancelled: their policies and ids.
local withdrawn = {}

-- Creates the task of one run. Returns the answer.
local function run(name, last, at, overlap, body, large, options)
  local previous = last ~= "0" and last ~= at and id_of_run(name, last)
  local ended = false
  options = read_options(options)
  -- The answer to a repeated request is that of the first one, whose own task may be the newest.
  local is_repeat = options.key and redis.call("EXISTS", record .. options.key) == 1
  if overlap ~= "allow" and not is_repeat and previous and is_active(previous) then
    if overlap == "skip" then return { "skipped", previous, now, false } end
    commit() -- if this call has created it: its entries must be written before some of them are removed
    local newest = open(previous)
    local full = lacks_room(newest, body, large)
    if full then return { full, "", now, false } end
    if newest.state == "queued" then withdrawn[#withdrawn + 1] = { read_policy(newest.policy), previous } end
    local code, _, attempt, since = unpack(cancel_task(previous, retention))
    ended = { previous, code, attempt, since }
  end
  local code, id = submit(id_of_run(name, at), body, large, options, ttl)
  if code == "queued" then
    code = "fired"
  elseif code == "replay_queued" then
    code = "replayed"
  elseif code == "replaced" or sub(code, 1, 7) == "replay_" then
    code = "duplicate"
  end
  return { code, id, now, ended }
end

-- The texts of the schedules, as this call changes them: one may have several runs.
local texts, names = {}, {}
for i = first, #ARGV, fields_each do names[#names + 1] = ARGV[i] end
for i, text in ipairs(redis.call("HMGET", schedules, unpack(names))) do texts[names[i]] = text or "" end

local answers, lines, plans = {}, {}, {}
local all_plain, lacked_room = true, false
local function plan_run(score, name)
  plans[#plans + 1] = score
  plans[#plans + 1] = name
end
for i = first, #ARGV, fields_each do
  local name, version, planned_at, next_at, score, missed, at, overlap, body, large, options = unpack(ARGV, i, i + fields_each - 1)
  local text = texts[name]
  local found, plan, fired, missed_before, skipped, last, paused, rest = match(text, SCHEDULE)
  local answer = { "stale", "", now, false }
  if found == version and (planned_at == "" or plan == planned_at) then
    answer = at == "" and { "missed", "", now, false } or run(name, last, at, overlap, body, large, options)
    local code = answer[1]
    -- A run by hand changes nothing unless it creates a task. A planned one has no idempotency key.
    if code == "fired" or planned_at ~= "" and not FULL[code] then
      if code == "fired" or code == "exists" then fired, last = int(fired + 1), at end
      if code == "skipped" or code == "duplicate" then skipped = int(skipped + 1) end
      if planned_at ~= "" then
        plan = next_at
        plan_run(score, name)
      end
      local line = { version, plan, fired, int(missed_before + missed), skipped, last, paused }
      texts[name] = table.concat(line, " ") .. "\n" .. sub(text, rest)
      lines[#lines + 1] = name
      lines[#lines + 1] = texts[name]
    elseif planned_at ~= "" then
      plan_run(int(now + FULL_RETRY), name) -- so that others that are due are tried first
      lacked_room = true
    end
  end
  all_plain = all_plain and answer[1] == "fired" and not answer[4]
  answers[#answers + 1] = answer
end
commit()
if withdrawn[1] then
  -- Otherwise the ready list of a queue without workers would become longer with each run.
  for _, of in ipairs(withdrawn) do withdraw(unpack(of)) end
  commit()
end
in_chunks("HSET", lines, schedules)
in_chunks("ZADD", plans, planned)
if lacked_room then redis.call("HSET", stats, "full_since", full_since() or now, "full_at", now) end
publish(0)
-- One number instead of an answer per run saves a tenth of what a run costs Redis and the broker.
return all_plain and now or answers
