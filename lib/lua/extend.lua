#!lua flags=allow-oom
--[[ extend: move the deadline of a lease that the caller still holds, and store progress, checkpoint and log lines.
  for each   id, lease, timeout (ms from now; "": as submitted), progress, checkpoint (JSON; "" keeps the stored value),
             log (lines; "" none)
  answers    for each {code, deadline, attempt, state}; the codes:
             "ok"            the deadline is never later than the end of the attempt's max_runtime
             "cancelled"     the caller holds the lease, but the task is being cancelled and should be acked
             "lease_lost"    another attempt holds the task, or the lease lapsed
             "unknown"       no such task
  cost       O(n log L), L = live leases
  invariant  the task stays leased: extending never makes it ready ]]
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
    if log ~= "" then
      local more = select(2, string.gsub(log, "\n", ""))
      extras(t).log = append_line(extras(t).log, log, MAX_LOG_LINES)
      extras(t).logged = append_line(extras(t).logged, now_text .. string.rep("\n" .. now_text, more), MAX_LOG_LINES)
    end
    if progress ~= "" or checkpoint ~= "" or log ~= "" then save(t) end
    code = extras(t).cancel and "cancelled" or "ok"
  elseif t then
    code = "lease_lost"
  end
  answers[#answers + 1] = t and { code, deadline, attempt_of(t.lease), t.state } or { code, 0, 0, "" }
end
commit()
return answers
