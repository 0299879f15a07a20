#!lua flags=allow-oom
--[[ extend: move the deadline of a lease that the caller still holds, and keep what it tells of its progress.
  for each   id, lease, timeout (ms from now; "" as the task was submitted), progress, checkpoint (JSON; ""
             leaves what is there), log (lines; "" none)
  answers    for each {code, deadline, attempt, state}; the words:
             "ok"            also where the deadline is the attempt's hard end, which nothing moves
             "cancelled"     it holds the lease, but the task is to end: ack it
             "lease_lost"    another attempt holds it, or it lapsed
             "unknown"       no such task
  cost       O(n log L), L = live leases
  invariant  the task stays where it is: extending never makes it ready ]]
local first, fields_each = 1, 6
local MAX_LOG_LINES = 20

local ids = {}
for i = first, #ARGV, fields_each do ids[#ids + 1] = ARGV[i] end
load(ids)

local answers = {}
for i = first, #ARGV, fields_each do
  local id, lease, timeout, progress, checkpoint, log = unpack(ARGV, i, i + fields_each - 1)
  local t = open(id)
  local code, deadline = "unknown", 0
  if t and t.state == "processing" and lease == t.lease then
    local policy = read_policy(t.policy)
    deadline = lapse_time(policy, tonumber(timeout) or policy.timeout, tonumber(t.started))
    join(leases, deadline, id)
    if progress ~= "" then extras(t).progress = progress end
    if checkpoint ~= "" then extras(t).checkpoint = checkpoint end
    if log ~= "" then extras(t).log = append_line(extras(t).log, log, MAX_LOG_LINES) end
    if progress ~= "" or checkpoint ~= "" or log ~= "" then save(t) end
    code = extras(t).cancel and "cancelled" or "ok"
  elseif t then
    code = "lease_lost"
  end
  answers[#answers + 1] = t and { code, deadline, attempt_of(t.lease), t.state } or { code, 0, 0, "" }
end
commit()
return answers
