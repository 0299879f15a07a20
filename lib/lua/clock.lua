--[[ clock: the time of Redis, numbers as text, and hints. ]]
local clock = redis.call("TIME") -- read once: the clock advances while a script runs
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Formats a time or count. Lua formats a number again at each concatenation or command, which costs more than any
-- Redis command; one batch uses the same few numbers over and over.
local texts_of_numbers = {}
local function int(number)
  local text = texts_of_numbers[number]
  if not text then
    text = string.format("%d", number)
    texts_of_numbers[number] = text
  end
  return text
end
local now_text = int(now)

-- Publishes a hint. If the Redis user may not publish, the writes of the script remain: the broker reports the missing right
-- (lib/lua/probe.lua), and clients that wait for the hint find the change at the next check.
local function publish_hint(channel, message) redis.pcall("PUBLISH", channel, message) end
