#!lua flags=no-writes
--[[ known: the workers, a part of them at a time.
  keys       about, seen: as seen.lua has them
  arguments  cursor: "0" at first, then as answered; count: about how many
  answers    {now, cursor ("0": these were the last), then for each its name, what `about` has and when it was last seen}
  cost       O(count) ]]
local about, seen = unpack(KEYS)
local cursor, count = unpack(ARGV)

local clock = redis.call("TIME")
local page = redis.call("HSCAN", about, cursor, "COUNT", count)
local answer = { clock[1] * 1000 + math.floor(clock[2] / 1000), page[1] }
for i = 1, #page[2], 2 do
  local name = page[2][i]
  answer[#answer + 1] = name
  answer[#answer + 1] = page[2][i + 1]
  answer[#answer + 1] = redis.call("ZSCORE", seen, name) or "0"
end
return answer
