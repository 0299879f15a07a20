#!lua flags=no-writes
--[[ bulk-list: the bulk operations, the newest first.
  keys       started, operation, open: see bulk-start.lua
  arguments  only: the id of one, or "" for all
  answers    for each {id, started (ms), ended (ms; "" it has not), about, progress, state, stop, succeeded, died_again,
             other (counts of retried tasks), open (how many retried tasks have no known outcome)}
  cost       O(K), K = kept operations ]]
local started, operation, open = unpack(KEYS)
local only = ARGV[1]

local answers = {}
for _, id in ipairs(only ~= "" and { only } or redis.call("ZRANGE", started, 0, -1, "REV")) do
  local fields = { "started", "ended", "about", "progress", "state", "stop", "succeeded", "died_again", "other" }
  local found = redis.call("HMGET", operation .. id, unpack(fields))
  if found[1] then
    local answer = { id, tonumber(found[1]) }
    for i = 2, 6 do answer[#answer + 1] = found[i] or "" end
    for i = 7, 9 do answer[#answer + 1] = tonumber(found[i] or 0) end
    answer[#answer + 1] = redis.call("SCARD", open .. id)
    answers[#answers + 1] = answer
  end
end
return answers
