#!lua flags=allow-oom
--[[ set-group: set what differs for one group from the settings of its queue, or pause or resume the group.
  arguments  group: its name; change: "limits" | "pause" | "resume"; value: of limits an object as JSON ("" removes them),
             of pause the reason, shown to people
  answers    the overrides of the group as JSON; "" none
  cost       O(10)
  invariant  leased tasks are not affected; pausing a paused group keeps the time and replaces the reason ]]
local group, change, value = unpack(ARGV)

local stored = open_groups().read_override(group)
local before = stored and cjson.decode(stored) or {}
local own = before
if change == "limits" then
  own = value ~= "" and cjson.decode(value) or {}
  own.paused, own.reason = before.paused, before.reason
elseif change == "pause" then
  own.paused = before.paused or now
  own.reason = value ~= "" and value or nil
else
  own.paused, own.reason = nil, nil
end
groups.write_override(group, own)
commit()
publish(0)
return open_groups().read_override(group) or ""
