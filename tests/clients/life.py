#!/usr/bin/env python3
"""The life of one task, with the standard library only: submitted twice under one idempotency key and created once, then
continued by a second attempt from the checkpoint of the first, through /work. Uses BROKER_URL, API_SECRET_TOKEN, and
QUEUE, which no other program should use. Exit code 0, or 1 and the error.
"""
import json
import os
import time
import urllib.error
import urllib.request
import uuid

BROKER_URL = os.environ.get("BROKER_URL", "http://localhost:5000").rstrip("/")
TOKEN = os.environ["API_SECRET_TOKEN"]
QUEUE = os.environ.get("QUEUE", f"life-{os.getpid()}")


def post(path, body, **headers):
    """Returns the broker's answer. A request without an answer is repeated, which is safe for every request here."""
    headers = {"X-API-Token": TOKEN, "Content-Type": "application/json", **headers}
    request = urllib.request.Request(BROKER_URL + path, json.dumps(body).encode(), headers)
    for pause in (0.1, 0.5, 2, 5, None):
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            if error.code not in (429, 502, 503, 504) or pause is None:
                raise SystemExit(f"{path} answered {error.code}: {text}") from None
        except OSError:
            if pause is None:
                raise
        time.sleep(pause)


def submit_once():
    # The key identifies the submit and is created once. If the answer is lost, the submit is repeated with the same key.
    key = str(uuid.uuid4())
    order = {"type": "count", "payload": {"to": 4}, "queue": QUEUE, "max_retries": 1}
    first = post("/submit", order, **{"Idempotency-Key": key})
    again = post("/submit", order, **{"Idempotency-Key": key})
    assert again == {**first, "replayed": True}, again
    return first["task_id"]


def count(task, fail_at=None):
    """Continues to count from the checkpoint. Returns the ack that ends the attempt."""
    at = task.get("checkpoint", {"at": 0})["at"]
    mine = {"task_id": task["id"], "lease": task["lease"]}
    while at < task["payload"]["to"]:
        if at == fail_at:
            return {**mine, "status": "failed", "error": f"stumbled at {at}", "retry_in_ms": 0}
        at += 1
        news = {"checkpoint": {"at": at}, "progress": at / task["payload"]["to"], "log": [f"counted to {at}"]}
        answer = post("/extend", {**mine, **news})
        if answer["status"] == "cancelled":
            return {**mine, "status": "released"}
    return {**mine, "status": "done", "result": {"counted_to": at, "attempt": task["attempt"]}}


def main():
    task_id = submit_once()
    # One request settles finished tasks, extends running ones and leases the next. An idle worker waits in it.
    settle, results = [], []
    while True:
        ask = {"worker": "python", "queues": [QUEUE], "settle": settle, "max": 1, "wait_ms": 500}
        answer = post("/work", ask)
        results += answer["settled"]
        if not settle and not answer["tasks"]:
            break
        settle = [count(task, fail_at=2 if task["attempt"] == 1 else None) for task in answer["tasks"]]
    assert [result["status"] for result in results] == ["requeued", "acknowledged"], results
    request = urllib.request.Request(f"{BROKER_URL}/status/{task_id}?wait_ms=5000", headers={"X-API-Token": TOKEN})
    with urllib.request.urlopen(request, timeout=30) as response:
        task = json.load(response)
    assert task["status"] == "done" and task["result"] == {"counted_to": 4, "attempt": 2}, task
    assert task["log"] == [f"counted to {n}" for n in (1, 2, 3, 4)], task
    print(f"{task_id} counted to 4 in two attempts, from one checkpoint")


if __name__ == "__main__":
    main()
