#!/usr/bin/env bash
# The life of one task in bash: submitted twice and created once, extended with a checkpoint, and settled by /work.
# Uses BROKER_URL, API_SECRET_TOKEN, and QUEUE, which no other program should use. python3 parses JSON.
set -eu
url=${BROKER_URL:-http://localhost:5000} token=${API_SECRET_TOKEN:?must be set} queue=${QUEUE:-life-$$}
# Each request here is safe to repeat. --retry does so after 429, 502, 503, 504 and if the connection is refused.
call() { curl -sS --fail-with-body -m 30 --retry 5 --retry-connrefused -H "X-API-Token: $token" -H "Content-Type: application/json" "$@"; }
post() { call -d "$2" "$url$1" "${@:3}"; }
# Prints the value of a Python expression in which `it` is the JSON on stdin.
of() { python3 -c 'import json, sys; it = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }
same() { [ "$2" = "$3" ] || { echo "$1: got $2, not $3" >&2; exit 1; }; }

# The key identifies the submit and is created once. If the answer is lost, the submit is repeated with the same key.
key="$queue-$$-$RANDOM"
order='{"type": "count", "queue": "'$queue'", "payload": {"to": 2}}'
id=$(post /submit "$order" -H "Idempotency-Key: $key" | of 'it["task_id"]')
again=$(post /submit "$order" -H "Idempotency-Key: $key")
same "the second submit's task" "$(of 'it["task_id"]' <<<"$again")" "$id"
same "the second submit" "$(of 'it["replayed"]' <<<"$again")" True

# An idle worker waits in /work.
work='"worker": "bash", "queues": ["'$queue'"], "max": 1'
lease=$(post /work "{$work, \"wait_ms\": 5000}" | of 'it["tasks"][0]["lease"]')
mine="\"task_id\": \"$id\", \"lease\": \"$lease\""
extended=$(post /extend "{$mine, \"progress\": 0.5, \"checkpoint\": {\"at\": 1}, \"log\": [\"half way\"]}")
same "the extend" "$(of 'it["status"]' <<<"$extended")" ok

# Releases the task, as a worker does when it is stopped. The same request leases it again, with the checkpoint.
next=$(post /work "{$work, \"settle\": [{$mine, \"status\": \"released\"}]}")
same "the release" "$(of 'it["settled"][0]["status"]' <<<"$next")" released
same "the checkpoint" "$(of 'it["tasks"][0]["checkpoint"]["at"]' <<<"$next")" 1
lease=$(of 'it["tasks"][0]["lease"]' <<<"$next")
last=$(post /work "{$work, \"settle\": [{\"task_id\": \"$id\", \"lease\": \"$lease\", \"result\": 2}]}")
same "the ack" "$(of 'it["settled"][0]["status"], len(it["tasks"])' <<<"$last")" "('acknowledged', 0)"
same "the result" "$(call "$url/status/$id?wait_ms=5000" | of 'it["status"], it["result"]')" "('done', 2)"
echo "$id done from its checkpoint"
