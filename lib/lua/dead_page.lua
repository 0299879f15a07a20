#!lua flags=no-writes
--[[ dead_page: a page of the dead-letter queue, the newest first.
  arguments  limit; score, id: the last entry of the page before ("" from the start)
  answers    {size, {score, described task}, ...}
  cost       O(log² D + limit), D = dead tasks
  invariant  a page goes on where the one before ended, also if that entry has left or newer ones came ]]
local limit, score, id = unpack(ARGV)

local size = redis.call("ZCARD", dead)
local from = 0
if score ~= "" then
  local low, high = 0, size -- the first rank that comes after (score, id) in descending order
  while low < high do
    local middle = math.floor((low + high) / 2)
    local member, at = unpack(redis.call("ZRANGE", dead, middle, middle, "REV", "WITHSCORES"))
    if tonumber(at) > tonumber(score) or (at == score and member >= id) then
      low = middle + 1
    else
      high = middle
    end
  end
  from = low
end

local answer = { size }
if tonumber(limit) > 0 then
  local entries = redis.call("ZRANGE", dead, from, from + limit - 1, "REV", "WITHSCORES")
  for i = 1, #entries, 2 do
    local described = describe(entries[i])
    if described then answer[#answer + 1] = { entries[i + 1], described } end
  end
end
return answer
