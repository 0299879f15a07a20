#!lua flags=allow-oom
--[[ watch: ask to be told on the `ended` channel when tasks end. The mark stays: telling costs little.
  for each   id
  answers    "watched" | "ended" (it has already) | "unknown"
  cost       O(n)
  invariant  nothing is published for a task that nobody ever watched ]]
local answers = {}
for _, id in ipairs(ARGV) do
  local fields = read(id, { "state", "watched" })
  local word = "watched"
  if not fields.state then
    word = "unknown"
  elseif fields.state == "done" or fields.state == "dead" or fields.state == "cancelled" then
    word = "ended"
  elseif not fields.watched then
    redis.call("HSET", task .. id, "watched", 1)
  end
  answers[#answers + 1] = word
end
return answers
