#!lua
--[[ probe: find out what Redis refuses to this user. If Redis refuses writes, it refuses this script with the same error.
  keys       mark: a key that holds a string; calls on it are omitted if it does not exist; missing: a key that never exists
  for each   call: a command and its arguments, separated by spaces; it must not change anything
  answers    for each the error of Redis, "" if there is none
  cost       O(n)
  invariant  changes nothing, but is refused like a script that writes and needs memory ]]
local mark, missing = unpack(KEYS)
local first, fields_each = 1, 1

local is_marked = redis.pcall("EXISTS", mark) ~= 0
local answers = {}
for i = first, #ARGV, fields_each do
  local call = ARGV[i]
  local words = {}
  for word in string.gmatch(call, "%S+") do words[#words + 1] = word end
  local reply = (is_marked or words[2] ~= mark) and redis.pcall(unpack(words))
  answers[#answers + 1] = type(reply) == "table" and reply.err or ""
end
return answers
