#!lua flags=no-writes
--[[ schedule-get: read one schedule.
  arguments  name
  answers    {now, schedule}   see read_schedule
  cost       O(1) ]]
local name = ARGV[1]

return { now, read_schedule(name) }
