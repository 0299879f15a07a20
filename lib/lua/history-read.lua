#!lua flags=no-writes
--[[ history-read: read points of the history; see history-add.lua.
  keys       points: see history-add.lua
  arguments  level: "m" for minutes, "h" for hours; from, to: number of the first and the last one since 1970; size: how many
             are in one hash; then for each: series: queue, or queue, `:` and type; "": all queues
  answers    for each {number, point, ...}; a point that nobody added is absent
  cost       O(n * (to - from)) ]]
local points = unpack(KEYS)
local level, from, to, size = unpack(ARGV)
local first, fields_each = 5, 1
from, to, size = tonumber(from), tonumber(to), tonumber(size)

local blocks = {}
for block = math.floor(from / size), math.floor(to / size) do
  local fields = {}
  for number = math.max(from, block * size), math.min(to, block * size + size - 1) do
    fields[#fields + 1] = int(number % size)
  end
  blocks[#blocks + 1] = { at = points .. level .. ":" .. int(block) .. ":", from = math.max(from, block * size), fields = fields }
end

local answers = {}
for i = first, #ARGV, fields_each do
  local series = ARGV[i]
  local found = {}
  for _, block in ipairs(blocks) do
    for k, point in ipairs(redis.call("HMGET", block.at .. series, unpack(block.fields))) do
      if point then
        found[#found + 1] = block.from + k - 1
        found[#found + 1] = point
      end
    end
  end
  answers[#answers + 1] = found
end
return answers
