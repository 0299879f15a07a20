#!/usr/bin/env python3
"""Checks the wire contract of the original system against a running broker, as a client of that system would.

Standard library only. BROKER_URL (default http://localhost:5000) and API_SECRET_TOKEN. The default queue must
be empty, because the order of tasks is checked. With --visibility SECONDS (the broker's visibility timeout) it
only lets one lease lapse. Exit code 0 and "contract kept", or 1 and the first difference.
"""
import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

BROKER_URL = os.environ.get("BROKER_URL", "http://localhost:5000").rstrip("/")
TOKEN = os.environ.get("API_SECRET_TOKEN", "")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MISSING = object()


class Differs(Exception):
    pass


def call(method, path, body=MISSING, token=TOKEN):
    """Returns (status, parsed body). The body is None if the answer has none."""
    headers = {} if token is None else {"X-API-Token": token}
    data = b"" if method == "POST" else None
    if body is not MISSING:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(BROKER_URL + path, data=data, headers=headers, method=method)
    try:
        with OPENER.open(request, timeout=30) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    try:
        return status, json.loads(text) if text else None
    except ValueError:
        raise Differs(f"{method} {path} answered {status} with a body that is not JSON: {text[:200]!r}") from None


def same(what, got, want):
    if got != want or isinstance(got, bool) != isinstance(want, bool):
        raise Differs(f"{what}: got {got!r}, the contract says {want!r}")


def expect(what, answer, code, /, **members):
    """Checks that the answer has this status code and these members. Other members are allowed."""
    got, body = answer
    if got != code:
        raise Differs(f"{what}: got {got} ({body!r}), the contract says {code}")
    for name, value in members.items():
        if not isinstance(body, dict) or name not in body:
            raise Differs(f"{what}: member {name!r} is missing in {body!r}")
        same(f"{what}: {name}", body[name], value)
    return body


def expect_error(what, answer, status, text=None):
    body = expect(what, answer, status)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, str) or not error:
        raise Differs(f"{what}: no readable 'error' in {body!r}")
    if text is not None:
        same(f"{what}: error", error, text)


def submit(**task):
    body = expect(f"submit {task}", call("POST", "/submit", task), 200, status="queued")
    task_id = body.get("task_id")
    if not isinstance(task_id, str) or not task_id:
        raise Differs(f"submit: no task_id in {body!r}")
    return task_id


def get(task_id, **members):
    return expect(f"get of {task_id}", call("GET", "/get"), 200, id=task_id, status="processing", **members)


def ack(task_id, status=MISSING):
    return call("POST", "/ack", {"task_id": task_id} if status is MISSING else {"task_id": task_id, "status": status})


def nothing_waits(what):
    answer = call("GET", "/get")
    same(f"{what}: GET /get with an empty queue", answer, (204, None))


def every_request_needs_the_token():
    unknown = uuid.uuid4()
    for token in (None, "", "wrong", TOKEN + "x", TOKEN[:-1]):
        for method, path, body in (
            ("POST", "/submit", {"type": "a"}),
            ("POST", "/submit", {}),
            ("GET", "/get", MISSING),
            ("POST", "/ack", {"task_id": str(unknown)}),
            ("GET", f"/status/{unknown}", MISSING),
            ("GET", "/dlq", MISSING),
            ("POST", f"/dlq/retry/{unknown}", MISSING),
        ):
            expect_error(f"{method} {path} with a wrong token", call(method, path, body, token), 401, "Unauthorized")


def submit_takes_a_type_and_defaults_the_rest():
    expect_error("submit without a type", call("POST", "/submit", {"payload": {}}), 400)
    expect_error("submit of nothing", call("POST", "/submit", {}), 400)
    task = submit(type="defaults")
    expect("status", call("GET", f"/status/{task}"), 200, id=task, type="defaults", payload={}, status="queued", retries=0, max_retries=3)
    get(task, type="defaults", payload={}, retries=0, max_retries=3)
    expect("status", call("GET", f"/status/{task}"), 200, id=task, status="processing")
    expect("ack", ack(task), 200, status="acknowledged", task_id=task)
    expect("status", call("GET", f"/status/{task}"), 200, id=task, type="defaults", payload={}, status="done", retries=0, max_retries=3)


def payloads_come_back_as_they_were():
    for payload in ({"a": [1, 2.5, "x", None, True, {}, []]}, [], [[]], "text é 漢 \u0000 \U0001f600", 7, -0.5, 9007199254740991, False, None, {}):
        task = submit(type="payload", payload=payload)
        same("payload", json.dumps(get(task)["payload"]), json.dumps(payload))
        same("payload in status", json.dumps(call("GET", f"/status/{task}")[1]["payload"]), json.dumps(payload))
        expect("ack", ack(task, "done"), 200, status="acknowledged", task_id=task)


def first_in_first_out_and_a_failed_task_goes_to_the_end():
    first, second, third = submit(type="order"), submit(type="order"), submit(type="order")
    get(first)
    expect("failed ack", ack(first, "failed"), 200, status="requeued", task_id=first, retries=1)
    body = expect("status", call("GET", f"/status/{first}"), 200, retries=1)
    if body["status"] not in ("queued", "retrying"):
        raise Differs(f"status after a failure: {body['status']!r}")
    for task, retries in ((second, 0), (third, 0), (first, 1)):
        get(task, retries=retries)
    for task in (third, first, second):
        expect("ack", ack(task, "done"), 200, status="acknowledged", task_id=task)
    nothing_waits("after all are done")


def retries_end_in_the_dead_letter_queue_and_come_back():
    before = expect("dlq", call("GET", "/dlq"), 200)["dlq_size"]
    for max_retries in (0, 3):
        task = submit(type="dies", payload={"n": max_retries}, max_retries=max_retries)
        for failure in range(1, max_retries + 1):
            get(task, retries=failure - 1, max_retries=max_retries)
            expect("failed ack", ack(task, "failed"), 200, status="requeued", task_id=task, retries=failure)
        get(task, retries=max_retries)
        expect("last failed ack", ack(task, "failed"), 200, status="moved_to_dlq", task_id=task, retries=max_retries + 1)
        nothing_waits("after the task died")
        expect("status", call("GET", f"/status/{task}"), 200, status="dead", retries=max_retries + 1)
        dlq = expect("dlq", call("GET", "/dlq"), 200, dlq_size=before + 1)
        found = [dead for dead in dlq["tasks"] if dead["id"] == task]
        same("number of times the dead task is listed in the dlq", len(found), 1)
        for name, value in {"type": "dies", "payload": {"n": max_retries}, "status": "dead", "retries": max_retries + 1, "max_retries": max_retries}.items():
            same(f"dead task: {name}", found[0].get(name, MISSING), value)
        expect("dlq retry", call("POST", f"/dlq/retry/{task}"), 200, status="requeued_from_dlq", task_id=task)
        expect_error("dlq retry of one that has left", call("POST", f"/dlq/retry/{task}"), 404, "Task not found in DLQ")
        expect("dlq", call("GET", "/dlq"), 200, dlq_size=before)
        get(task, retries=0, max_retries=max_retries)
        expect("ack", ack(task, "done"), 200, status="acknowledged", task_id=task)


def what_is_unknown_or_wrong_is_refused():
    unknown = str(uuid.uuid4())
    expect_error("status of an unknown task", call("GET", f"/status/{unknown}"), 404, "Task not found")
    expect_error("dlq retry of an unknown task", call("POST", f"/dlq/retry/{unknown}"), 404, "Task not found in DLQ")
    expect_error("ack of an unknown task", ack(unknown, "done"), 404)
    expect_error("ack without a task_id", call("POST", "/ack", {"status": "done"}), 400)
    expect_error("ack of nothing", call("POST", "/ack", {}), 400)
    task = submit(type="wrong")
    get(task)
    expect_error("ack with another status", ack(task, "finished"), 400)
    expect("status", call("GET", f"/status/{task}"), 200, status="processing", retries=0)
    expect("ack", ack(task, "done"), 200, status="acknowledged", task_id=task)


def a_lapsed_lease_is_handed_out_again(seconds):
    task = submit(type="lapses")
    began = time.monotonic()
    get(task)
    while True:
        status, body = call("GET", "/get")
        passed = time.monotonic() - began
        if status == 200:
            break
        if passed > seconds + 10:
            raise Differs("a task whose lease lapsed was not handed out again")
        time.sleep(0.05)
    if passed < seconds:
        raise Differs(f"a leased task was handed out again after {passed} s")
    same("the task handed out again", body["id"], task)
    expect("ack", ack(task, "done"), 200, status="acknowledged", task_id=task)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--visibility", type=float, default=None)
    options = parser.parse_args()
    steps = [
        lambda: nothing_waits("at the start (the default queue must be empty)"),
        every_request_needs_the_token,
        submit_takes_a_type_and_defaults_the_rest,
        payloads_come_back_as_they_were,
        first_in_first_out_and_a_failed_task_goes_to_the_end,
        retries_end_in_the_dead_letter_queue_and_come_back,
        what_is_unknown_or_wrong_is_refused,
    ]
    if options.visibility is not None:
        steps[1:] = [lambda: a_lapsed_lease_is_handed_out_again(options.visibility)]
    for step in steps:
        try:
            step()
        except (Differs, OSError) as error:
            name = "at the start" if step.__name__ == "<lambda>" else step.__name__
            print(f"contract broken: {name.replace('_', ' ')}: {error}", file=sys.stderr)
            return 1
    print("contract kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
