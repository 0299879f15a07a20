#!/usr/bin/env bash
# A worker in bash: curl for the protocol, python3 to take the JSON apart. It upper-cases the payload's "text".
# BROKER_URL and API_SECRET_TOKEN as for every worker; ends after $1 tasks (default: never).
set -u
url=${BROKER_URL:-http://localhost:5000} token=${API_SECRET_TOKEN:?must be set}
# curl --retry asks again after 429, 502, 503, 504 and where nobody listens, and heeds Retry-After.
post() { curl -sS -f -m 30 --retry 1000 --retry-connrefused -H "X-API-Token: $token" -H "Content-Type: application/json" -d "$2" "$url$1"; }
for ((n = 0; n < ${1:-1000000000}; )); do
  answer=$(post /lease '{"max": 1, "wait_ms": 15000, "worker": "bash"}') || { sleep 1; continue; }
  # The ack for the task in the answer; nothing where there is none.
  ack=$(python3 -c 'import json, sys
for task in json.load(sys.stdin)["tasks"]:
    text = task["payload"].get("text", "") if isinstance(task["payload"], dict) else ""
    print(json.dumps({"task_id": task["id"], "lease": task["lease"], "status": "done", "result": str(text).upper()}))' <<<"$answer")
  [ -n "$ack" ] || continue
  # Repeating an ack is safe, as it names its lease; 409 means that another worker has the task now.
  post /ack "$ack" >/dev/null || echo "the ack of $ack was not taken" >&2
  n=$((n + 1))
done
