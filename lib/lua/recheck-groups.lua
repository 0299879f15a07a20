#!lua flags=allow-oom
--[[ recheck-groups: after the limits of all groups have changed, return the held groups that may lease again to the line.
  arguments  from: the first entry to read, by the rank of its backlog; limit: how many entries
  answers    how many entries were read: fewer than `limit` at the end
  cost       O(limit log N)
  invariant  a group that may not lease again stays held; a group that this misses is checked within a minute ]]
local from, limit = unpack(ARGV)

local looked = open_groups().look_at_held(tonumber(from), tonumber(limit))
commit()
publish(0)
return looked
