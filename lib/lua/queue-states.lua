#!lua flags=no-writes
--[[ queue-states: how many tasks of many queues stand where, for /metrics, where a call a queue would cost the broker most.
  arguments  queues: their names, divided by spaces. Only the keys of the first are given, as to send and to read those of
             1,000 queues costs more than all the rest: the others' are the same with another name. A Cluster, where
             they would be elsewhere, is asked for one queue a call.
  answers    a line for each queue, `queued due leases done dead cancelled oldest polled`: how many are in each, since when
             the longest waiting of those that go next waits (nothing: none does), and when somebody last asked (nothing:
             never). Nothing in it depends on the time of the call: who asks again can tell at once that all is as before
  cost       O(100) at most a queue, as depth
  invariant  as depth ]]
local queues = unpack(ARGV)

-- A key is `before`, the queue's name, and the rest.
local before = string.match(task, "^.-{")
local function rest(key) return string.match(key, "}.*$") end
local task_rest, ready_rest, stats_rest = rest(task), rest(ready), rest(stats)
-- Those that are seldom empty come first: most tasks have priority 5.
local rests, priorities = {}, { "5", false, false, false, false, false, "0", "1", "2", "3", "4", "6", "7", "8", "9" }
local sets = { rest(leases), rest(done), rest(due), rest(dead), rest(cancelled) }
for i, priority in ipairs(priorities) do rests[i] = priority and ready_rest .. priority or sets[i - 1] end

local lines, keys = {}, {}
for queue in string.gmatch(queues, "%S+") do
  local base = before .. queue
  task, ready = base .. task_rest, base .. ready_rest
  for i, rest in ipairs(rests) do keys[i] = base .. rest end
  -- One call for the fifteen: what is empty is not there, and is not asked how much it holds.
  local left = redis.call("EXISTS", unpack(keys))
  local sizes, queued, oldest = { "0", "0", "0", "0", "0" }, 0, nil
  for i, key in ipairs(keys) do
    if left == 0 then break end
    local priority = priorities[i]
    local size = redis.call(priority and "LLEN" or "ZCARD", key)
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
  local leased, ended, later, died, given_up = unpack(sizes)
  local polled = redis.call("HGET", base .. stats_rest, "polled")
  lines[#lines + 1] = table.concat(
    { int(queued), later, leased, ended, died, given_up, oldest and int(oldest) or "", polled or "" },
    " "
  )
end
return table.concat(lines, "\n")
