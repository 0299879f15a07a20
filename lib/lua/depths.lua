#!lua flags=no-writes
--[[ depths: how many tasks of many queues stand where, for /metrics, where a call a queue would cost the broker most.
  arguments  queues: their names, divided by spaces. Only the keys of the first are given, as to send and to read those of
             1,000 queues costs more than all the rest: the others' are the same with another name. A Cluster, where
             they would be elsewhere, is asked for one queue a call.
  answers    a line for each queue, `queued due leases done dead cancelled|oldest|polled`: how many are in each, since when
             the longest waiting of those that go next waits (nothing: none does), and when somebody last asked (nothing:
             never). Nothing in it depends on the time of the call: who asks again can tell at once that all is as before
  cost       O(100) at most a queue, as depth
  invariant  as depth ]]
local queues = unpack(ARGV)

local function of(key)
  local before, after = string.match(key, "^(.-{).-(}.*)$")
  return function(queue) return before .. queue .. after end
end
local task_of, ready_of, due_of, leases_of = of(task), of(ready), of(due), of(leases)
local done_of, dead_of, cancelled_of, stats_of = of(done), of(dead), of(cancelled), of(stats)

local lines = {}
for queue in string.gmatch(queues, "%S+") do
  task, ready = task_of(queue), ready_of(queue)
  loaded, opened = {}, {} -- another queue may have a task of the same id
  local queued, oldest = 0, nil
  for priority = 0, 9 do
    local count = redis.call("LLEN", ready .. priority)
    if count > 0 then
      queued = queued + count
      local since = waits_since(priority)
      if since then oldest = math.min(oldest or since, since) end
    end
  end
  lines[#lines + 1] = string.format(
    "%d %d %d %d %d %d|%s|%s",
    queued,
    redis.call("ZCARD", due_of(queue)),
    redis.call("ZCARD", leases_of(queue)),
    redis.call("ZCARD", done_of(queue)),
    redis.call("ZCARD", dead_of(queue)),
    redis.call("ZCARD", cancelled_of(queue)),
    oldest and int(oldest) or "",
    redis.call("HGET", stats_of(queue), "polled") or ""
  )
end
return table.concat(lines, "\n")
