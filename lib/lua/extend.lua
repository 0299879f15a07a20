#!lua flags=allow-oom
--[[ extend: move the deadline of a lease that the caller still holds, and keep what it tells of its progress.
  for each   id, lease, timeout (ms from now; "" as the task was submitted), progress, checkpoint (JSON; ""
             leaves what is there), log (lines; "" none)
  answers    for each {word, deadline, attempt, state}; the words:
             "ok"            also where the deadline is the attempt's hard end, which nothing moves
             "cancelled"     it holds the lease, but the task is to end: ack it
             "lease_lost"    another attempt holds it, or it lapsed
             "unknown"       no such task
  cost       O(n log L), L = live leases
  invariant  the task stays where it is: extending never makes it ready ]]
local first, fields_each = 1, 6
local MAX_LOG_LINES = 20

local answers = {}
for i = first, #ARGV, fields_each do
  local id, lease, timeout, progress, checkpoint, log = unpack(ARGV, i, i + fields_each - 1)
  local fields = read(id, { "state", "lease", "policy", "started", "cancel", "log" })
  local attempt = tonumber(string.match(fields.lease or "0", "^%d+"))
  local word, deadline = "unknown", 0
  if fields.state == "processing" and lease == fields.lease then
    word = fields.cancel and "cancelled" or "ok"
    local policy = read_policy(fields.policy)
    deadline = lapse_time(policy, tonumber(timeout) or policy.timeout, tonumber(fields.started))
    join(leases, deadline, id)
    local told = {}
    local function tell(name, value)
      told[#told + 1] = name
      told[#told + 1] = value
    end
    if progress ~= "" then tell("progress", progress) end
    if checkpoint ~= "" then tell("checkpoint", checkpoint) end
    if log ~= "" then tell("log", append_line(fields.log, log, MAX_LOG_LINES)) end
    if #told > 0 then redis.call("HSET", task .. id, unpack(told)) end
  elseif fields.state then
    word = "lease_lost"
  end
  answers[#answers + 1] = { word, deadline, attempt, fields.state or "" }
end
commit()
return answers
