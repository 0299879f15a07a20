--[[ buckets: token buckets, which limit how fast tasks are leased. A rate `{limit, per_ms, burst}` has a bucket of `burst`
  tokens that gains `limit` tokens per `per_ms`; each task takes one from the buckets of all rates. A clock that was set
  back adds and takes nothing: the caller must then store the levels again with the time now, or the buckets gain nothing
  until the clock has caught up. ]]

-- The level of each bucket, a fraction. tokens, filled: what was stored, and when. Returns how many tasks the levels
-- allow, the levels, and whether the clock has been set back since.
local function fill(rates, tokens, filled)
  local passed = now - (tonumber(filled) or now)
  local stored = string.gmatch(tokens or "", "%S+")
  local most, levels = math.huge, {}
  for i, rate in ipairs(rates) do
    local gained = math.max(0, passed) * rate.limit / rate.per_ms
    levels[i] = math.min(rate.burst, (tonumber(stored() or "") or rate.burst) + gained)
    most = math.min(most, math.floor(levels[i]))
  end
  return math.max(0, most), levels, passed < 0
end

-- Takes tokens from all buckets, and returns the levels as they are stored.
local function spend(levels, count)
  local texts = {}
  for i, level in ipairs(levels) do
    levels[i] = level - count
    texts[i] = string.format("%.6f", levels[i])
  end
  return table.concat(texts, " ")
end

-- Ms until all buckets have this many tokens (without it: until they are full); 0 or less: they have.
local function ms_until(rates, levels, tokens)
  local wait = 0
  for i, rate in ipairs(rates) do
    wait = math.max(wait, math.ceil(((tokens or rate.burst) - levels[i]) * rate.per_ms / rate.limit))
  end
  return wait
end

-- The rates of a queue: as a list in JSON, or in the short form; nil: none.
local function read_rates(rates, per_second, burst)
  if rates then return cjson.decode(rates) end
  return per_second and { { limit = tonumber(per_second), per_ms = 1000, burst = tonumber(burst) } } or nil
end

-- How many more tasks the queue's settings allow to be leased now. If the queue has rates, also returns the levels of
-- their buckets, and whether the clock has been set back.
local function allowance(concurrency, rates)
  local most, allowed, levels, set_back = math.huge, nil, nil, false
  if concurrency then most = concurrency - redis.call("ZCARD", leases) end
  if rates then
    allowed, levels, set_back = fill(rates, unpack(redis.call("HMGET", stats, "tokens", "filled")))
    most = math.min(most, allowed)
  end
  return math.max(0, most), levels, set_back
end
