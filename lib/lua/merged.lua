#!lua flags=no-writes
--[[ merged: list entries of several places of several queues, merged by time, without the texts of their tasks.
  arguments  queues: names, separated by spaces, as for queue-states; places: separated by spaces: "due" or "leases", listed
             from the lowest score up, or any of "completed", "done", "dead" and "cancelled", from the highest down; retention:
             ms that the scores of "done" and "cancelled" are later than the end of a task; limit: how many entries to answer;
             most: how many to look at; part: a text in lower case that ids contain, "" for any; at, queue, place, id: the last
             entry of the previous page ("" for the first page), whose queue may be absent from queues; `at` is its score, less
             retention
  answers    {now, more (1: it stopped at limit or most), {at, queue, place, id} (the last entry it looked at; false if it
             reached the end), {at, queue, place, id}, ...}, in order
  cost       O((queues × places + most) log N)
  invariant  entries of the same time are ordered by queue, place and id, or position in "completed", so what keeps its score during
             a listing is listed exactly once, whatever comes or goes; only if the last entry of a page was in "completed" and is
             deleted, those of its millisecond may be listed again ]]
local queues, places, retention, limit, most, part, at, queue, place, id = unpack(ARGV)
local CHUNK_SIZE = 20 -- entries that one command reads
local is_ascending = places == "due" or places == "leases"
limit, most, retention, at = tonumber(limit), tonumber(most), tonumber(retention), tonumber(at)

-- A stream has the next entry of a set: `at` and `id`. Returns false at the end of the set.
local function advance(stream)
  stream.next = stream.next + 2
  if not stream.chunk or stream.next > #stream.chunk then
    local from, to = stream.from, stream.from + CHUNK_SIZE - 1
    if stream.place == "completed" then
      stream.chunk = completed_from(from, CHUNK_SIZE)
    elseif is_ascending then
      stream.chunk = redis.call("ZRANGE", stream.set, from, to, "WITHSCORES")
    else
      stream.chunk = redis.call("ZRANGE", stream.set, from, to, "REV", "WITHSCORES")
    end
    stream.from, stream.next = to + 1, 1
    if not stream.chunk[1] then return false end
  end
  stream.id, stream.at = stream.chunk[stream.next], tonumber(stream.chunk[stream.next + 1]) - stream.offset
  return true
end

local function is_before(a, b)
  if a.at ~= b.at then return (a.at < b.at) == is_ascending end
  return a.rank < b.rank
end

local streams = {} -- the one with the next entry is the last
local function insert(stream)
  table.insert(streams, search(1, #streams + 1, function(i) return is_before(stream, streams[i]) end), stream)
end

local rank = 0
for name in string.gmatch(queues, "%S+") do
  use_queue(name)
  local is_later = is_after(name, queue) -- than the queue of the last entry
  for of in string.gmatch(places, "%S+") do
    local is_last = name == queue and of == place
    local offset = (of == "done" or of == "cancelled") and retention or 0
    rank = rank + 1
    local stream = { set = set_of(of), queue = name, place = of, offset = offset, rank = rank, from = 0, next = -1 }
    if at then
      local member = is_later and "" or (is_last and id)
      if of == "completed" then
        stream.from = rank_in_completed(at, member)
      else
        stream.from = rank_after(stream.set, int(at + offset), member, is_ascending)
      end
    end
    if is_last then is_later = true end
    if advance(stream) then insert(stream) end
  end
end

-- The entry of a stream as it is answered.
local function entry_of(stream) return { int(stream.at), stream.queue, stream.place, stream.id } end

local answer, looked = { now, 0, false }, 0
while #streams > 0 do
  local stream = table.remove(streams)
  looked = looked + 1
  if part == "" or find(string.lower(stream.id), part, 1, true) then answer[#answer + 1] = entry_of(stream) end
  local is_last = #answer - 3 == limit or looked == most
  if is_last then answer[3] = entry_of(stream) end
  if advance(stream) then insert(stream) end
  if is_last then
    answer[2] = #streams > 0 and 1 or 0
    break
  end
end
return answer
