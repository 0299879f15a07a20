#!/usr/bin/env bash
# A worker in bash, which uses curl for HTTP and python3 to parse JSON. It upper-cases the payload's "text".
# Uses BROKER_URL and API_SECRET_TOKEN. Ends after $1 tasks (default: never).
set -u
url=${BROKER_URL:-http://localhost:5000} token=${API_SECRET_TOKEN:?must be set}
# curl --retry repeats the request after 429, 502, 503, 504 or a refused connection, and respects Retry-After.
post() { curl -sS -f -m 30 --retry 1000 --retry-connrefused -H "X-API-Token: $token" -H "Content-Type: application/json" -d "$2" "$url$1"; }
for ((n = 0; n < ${1:-1000000000}; )); do
  answer=$(post /lease '{"max": 1, "wait_ms": 15000, "worker": "bash"}') || { sleep 1; continue; }
  # The ack for the task in the answer; empty if there is none.
  ack=$(python3 -c 'import json, sys
for task in json.load(sys.stdin)["tasks"]:
    text = task["payload"].get("text", "") if isinstance(task["payload"], dict) else ""
    print(json.dumps({"task_id": task["id"], "lease": task["lease"], "status": "done", "result": str(text).upper()}))' <<<"$answer")
  [ -n "$ack" ] || continue
  # Repeating an ack is safe, because it names its lease. 409 means that another worker has the task now.
  post /ack "$ack" >/dev/null || echo "the ack $ack was not accepted" >&2
  n=$((n + 1))
done
