#!lua flags=no-writes
--[[ workers-list: read the known workers, one page per call.
  keys       about, seen: see workers-seen.lua
  arguments  cursor: "0" for the first page, then as answered; count: how many workers per page (approximately)
  answers    {now, cursor ("0": this was the last page), then for each worker {name, its JSON in `about`, ms when it was
             last seen}}
  cost       O(count) ]]
local about, seen = unpack(KEYS)
local cursor, count = unpack(ARGV)

local next_cursor, entries = unpack(redis.call("HSCAN", about, cursor, "COUNT", count))
local answer = { now, next_cursor }
for i = 1, #entries, 2 do
  local name = entries[i]
  answer[#answer + 1] = { name, entries[i + 1], redis.call("ZSCORE", seen, name) or "0" }
end
return answer
