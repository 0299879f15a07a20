--[[ collect: changes are collected in tables and written by one variadic command per
  structure, because calls from Lua and lines in the append-only file dominate the cost of a transition.
  invariant  a task is in exactly one place, as its `state` says: a ready list (queued), `due` (scheduled, retrying), `leases`
             (processing), `done` or `completed` (done), `dead` or `cancelled`. A ready list may also contain ids whose tasks
             have left it, because removing one would cost a scan of the list: these ids are stale. lease drops them when it
             pops them; cancel and sweep drop those at the heads of the lists. ]]
local function in_chunks(command, values, key)
  local reply
  for i = 1, #values, CHUNK do
    local last = math.min(i + CHUNK - 1, #values)
    if key then
      reply = redis.call(command, key, unpack(values, i, last))
    else
      reply = redis.call(command, unpack(values, i, last))
    end
  end
  return reply
end

local joined, left, to_tail, to_head, became_ready, more_bytes = {}, {}, {}, {}, 0, 0
local timeouts = {} -- one line `event reason attempt worker id time` per timeout

-- The bytes of a text and of the payload, if that has its own key. For the queue's byte count: of the task's text from the
-- type on, which does not change until the task ends.
local function size_of(id, rest)
  return #rest + (has_own_payload(rest) and redis.call("STRLEN", payload .. id) or 0)
end

-- Adds to the queue's byte count; a negative number subtracts. Call it only if max_bytes is set.
local function add_bytes(bytes) more_bytes = more_bytes + bytes end

local function values_in(writes, key)
  writes[key] = writes[key] or {}
  return writes[key]
end

local function join(set, score, id)
  local values = joined[set] or values_in(joined, set)
  local at = #values
  values[at + 1] = int(score)
  values[at + 2] = id
end

local function leave(set, id)
  local values = left[set] or values_in(left, set)
  values[#values + 1] = id
end

-- The only way to become ready: at the tail of its list or, for a released task, at the head. Also counts the task
-- for the hint that wakes waiting clients.
local function make_ready(id, priority, front, group)
  if group then return open_groups().push(group, priority, id, front) end
  local lists = front and to_head or to_tail
  local values = lists[priority] or values_in(lists, priority)
  values[#values + 1] = id
  became_ready = became_ready + 1
end

-- LPUSH reverses the order, so push the last id first.
local function reversed(values)
  local turned = {}
  for i = #values, 1, -1 do turned[#turned + 1] = values[i] end
  return turned
end

-- Writes what was collected. Tasks opened afterwards are read again.
local function commit()
  for id, t in pairs(saved) do write(id, task .. id, text_of(t)) end
  in_chunks("MSET", written)
  for set, ids in pairs(left) do in_chunks("ZREM", ids, set) end
  for set, values in pairs(joined) do in_chunks("ZADD", values, set) end
  for priority, ids in pairs(to_tail) do in_chunks("RPUSH", ids, ready .. priority) end
  for priority, ids in pairs(to_head) do in_chunks("LPUSH", reversed(ids), ready .. priority) end
  if more_bytes ~= 0 then redis.call("HINCRBY", stats, "bytes", int(more_bytes)) end
  more_bytes = 0
  if groups then groups.commit() end
  loaded, opened, saved, written, joined, left, to_tail, to_head = {}, {}, {}, {}, {}, {}, {}, {}
end

-- Publishes how many tasks became ready, minus those that the caller has leased itself.
local function publish(taken)
  if became_ready > taken then publish_hint(wake, int(became_ready - taken)) end
  became_ready = 0
end

-- How many tasks a priority has beside the entries of its ready list: a group has one entry for all of its tasks.
local function grouped_in(priority) return tonumber(redis.call("HGET", stats, "grouped" .. priority) or 0) end

-- Publishes the number of all ready tasks, after what held them back was removed.
local function wake_all()
  for priority = 0, 9 do became_ready = became_ready + redis.call("LLEN", ready .. priority) + grouped_in(priority) end
  publish(0)
end
