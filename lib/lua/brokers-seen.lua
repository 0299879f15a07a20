#!lua flags=allow-oom
--[[ brokers-seen: note that a broker runs or stops, and delete brokers that have not been seen for long.
  keys       brokers: zset by ms: what a broker says about itself, as JSON, by when it was last seen
  arguments  about: that JSON; on: "1" if the broker runs, "0" if it stops; retention: ms that a broker is kept after it was
             last seen; max_brokers: how many are kept
  answers    how many brokers are known
  cost       O(log B + deleted), B = known brokers
  invariant  a broker that does not call again is not kept ]]
local brokers = unpack(KEYS)
local about, on, retention, max_brokers = unpack(ARGV)
local MAX_DELETED = 100

-- Times later than now were written before the clock was set back; their brokers call again.
local gone = redis.call("ZRANGE", brokers, "(" .. now_text, "+inf", "BYSCORE", "LIMIT", 0, MAX_DELETED)
for _, past in ipairs(redis.call("ZRANGE", brokers, "-inf", now - retention, "BYSCORE", "LIMIT", 0, MAX_DELETED)) do
  gone[#gone + 1] = past
end
if on == "0" then gone[#gone + 1] = about end
if #gone > 0 then redis.call("ZREM", brokers, unpack(gone)) end
if on == "1" then redis.call("ZADD", brokers, now_text, about) end
local excess = math.min(redis.call("ZCARD", brokers) - max_brokers, MAX_DELETED)
if excess > 0 then redis.call("ZREM", brokers, unpack(redis.call("ZRANGE", brokers, 0, excess - 1))) end
redis.call("PEXPIRE", brokers, retention)
return redis.call("ZCARD", brokers)
