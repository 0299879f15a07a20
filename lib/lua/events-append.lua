#!lua
--[[ events-append: append events to the stream, and remove its oldest entries.
  arguments  max_events: how many events the stream keeps (approximately); retention: ms that it keeps an event; then for
             each: event (its name), queue, task ("" if the event is not about one), data (JSON)
  answers    nothing
  cost       O(n + entries removed)
  invariant  refused if Redis is out of memory: events are the first thing to give up ]]
local stream = unpack(KEYS)
local max_events, retention = unpack(ARGV)
local first, fields_each = 3, 4

for i = first, #ARGV, fields_each do
  local event, queue, task, data = unpack(ARGV, i, i + fields_each - 1)
  redis.call("XADD", stream, "MAXLEN", "~", max_events, "*", "event", event, "queue", queue, "task", task, "data", data)
end
redis.call("XTRIM", stream, "MINID", "~", int(now - retention))
