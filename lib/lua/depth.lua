#!lua flags=no-writes
--[[ depth: how many tasks of a queue there are, by where they stand, and how long the oldest has waited.
  answers    {queued, delayed, processing, done, dead, cancelled, oldest, polled}     queued: with ids left behind;
             delayed: scheduled or retrying; oldest: ms since the submit, or the newest attempt, of the tasks at
             the heads of the ready lists; polled: ms since somebody last asked for tasks, -1 never
  cost       O(1) ]]
local HEADS = 5 -- of each list: ids left behind may stand before the first that waits
local queued, oldest = 0, 0
for priority = 0, 9 do
  local size = redis.call("LLEN", ready .. priority)
  queued = queued + size
  local ids = size > 0 and redis.call("LRANGE", ready .. priority, 0, HEADS - 1) or {}
  load(ids)
  for _, id in ipairs(ids) do
    local t = open(id)
    if t and t.state == "queued" then oldest = math.max(oldest, now - math.max(t.created, t.started)) end
  end
end
local polled = redis.call("HGET", stats, "polled")
return {
  queued, redis.call("ZCARD", due), redis.call("ZCARD", leases), redis.call("ZCARD", done), redis.call("ZCARD", dead),
  redis.call("ZCARD", cancelled), oldest, polled and math.max(0, now - polled) or -1,
}
