#!/usr/bin/env python3
"""A worker like that of the original system: polls GET /get, runs the task, acks with task_id and status alone.

Standard library only. BROKER_URL (default http://localhost:5000) and API_SECRET_TOKEN.
A task of type "fail", or with a true "fail" in its payload, fails. Every other task succeeds.

    worker.py [--tasks N] [--idle SECONDS] [--pause SECONDS]

Ends with exit code 0 after N tasks or after SECONDS without a task (default for both: never). Prints one line per
task: its id, its status and the broker's answer.
"""
import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

BROKER_URL = os.environ.get("BROKER_URL", "http://localhost:5000").rstrip("/")
HEADERS = {"X-API-Token": os.environ.get("API_SECRET_TOKEN", "")}
# Ignore the proxy settings of the machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method, path, body=None):
    """Returns (status, parsed body or None). Raises OSError if the broker cannot be reached."""
    headers = dict(HEADERS)
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(BROKER_URL + path, data=data, headers=headers, method=method)
    try:
        with OPENER.open(request, timeout=30) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    return status, json.loads(text) if text else None


def execute(task):
    payload = task["payload"]
    if task["type"] == "fail" or (isinstance(payload, dict) and payload.get("fail")):
        raise RuntimeError("the payload requests a failure")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=None)
    parser.add_argument("--idle", type=float, default=None)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between polls while no task is waiting")
    options = parser.parse_args()
    finished, busy_at = 0, time.monotonic()
    while options.tasks is None or finished < options.tasks:
        if options.idle is not None and time.monotonic() - busy_at > options.idle:
            break
        try:
            status, task = call("GET", "/get")
            if status == 204:
                time.sleep(options.pause)
                continue
            if status != 200:
                print(f"GET /get: {status} {task}", file=sys.stderr, flush=True)
                time.sleep(options.pause)
                continue
            try:
                execute(task)
                outcome = "done"
            except Exception:
                outcome = "failed"
            _, answer = call("POST", "/ack", {"task_id": task["id"], "status": outcome})
            print(task["id"], outcome, json.dumps(answer), flush=True)
            finished += 1
            busy_at = time.monotonic()
        except OSError as error:
            print(f"the broker cannot be reached: {error}", file=sys.stderr, flush=True)
            time.sleep(options.pause)


if __name__ == "__main__":
    main()
