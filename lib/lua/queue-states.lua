#!lua flags=no-writes
--[[ queue-states: queue-state for many queues in one call, for /metrics: one call per queue would cost the broker most.
  arguments  queues: their names, separated by spaces. Only the keys of the first queue are passed, because sending and
             parsing the keys of 1,000 queues costs more than everything else; the keys of the others differ only in the
             name. In a Cluster, where queues are in different slots, each call names one queue.
  answers    one line per queue, `queued due leases done dead cancelled oldest polled`: six sizes, then the ms since which
             the longest waiting task among the heads of the ready lists waits (empty: none waits), then the ms of the last
             poll (empty: never). Nothing depends on the time of the call, so a caller can compare it with the last answer
  cost       O(100) at most per queue, as queue-state
  invariant  as queue-state ]]
local queues = unpack(ARGV)

-- A key is `before`, the queue's name, and the rest.
local before = string.match(task, "^.-{")
local function rest(key) return string.match(key, "}.*$") end
local task_rest, ready_rest, stats_rest = rest(task), rest(ready), rest(stats)
-- Keys that are seldom empty come first: most tasks have priority 5.
local rests, priorities = {}, { "5", false, false, false, false, false, false, "0", "1", "2", "3", "4", "6", "7", "8", "9" }
local sets = { rest(leases), rest(completed), rest(due), rest(dead), rest(cancelled), rest(done) }
local COMPLETED = sets[2]
for i, priority in ipairs(priorities) do rests[i] = priority and ready_rest .. priority or sets[i - 1] end

local fields = { "polled" }
for priority = 0, 9 do fields[#fields + 1] = "grouped" .. priority end

local lines, keys = {}, {}
for queue in string.gmatch(queues, "%S+") do
  local base = before .. queue
  task, ready, groups = base .. task_rest, base .. ready_rest, false
  for i, rest in ipairs(rests) do keys[i] = base .. rest end
  -- One command for all sixteen keys. An empty list or set does not exist, so the loop ends after the last that does.
  local left = redis.call("EXISTS", unpack(keys))
  local sizes, queued, oldest = { "0", "0", "0", "0", "0", "0" }, 0, nil
  for i, key in ipairs(keys) do
    if left == 0 then break end
    local priority = priorities[i]
    local is_list = priority or rests[i] == COMPLETED
    local size = redis.call(is_list and "LLEN" or "ZCARD", key)
    if size > 0 then
      left = left - 1
      if priority then
        queued = queued + size
        local since = waiting_since(priority)
        if since then oldest = math.min(oldest or since, since) end
      else
        sizes[i - 1] = int(size)
      end
    end
  end
  local leased_size, completed_size, due_size, dead_size, cancelled_size, done_size = unpack(sizes)
  done_size = int(done_size + completed_size)
  local about = redis.call("HMGET", base .. stats_rest, unpack(fields))
  local polled = about[1]
  for i = 2, #fields do queued = queued + (about[i] or 0) end
  lines[#lines + 1] = table.concat(
    { int(queued), due_size, leased_size, done_size, dead_size, cancelled_size, oldest and int(oldest) or "", polled or "" },
    " "
  )
end
return table.concat(lines, "\n")
