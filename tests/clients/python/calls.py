"""Calls the broker as programs do. Prints `ok`, or fails with a traceback."""
import asyncio
import sys
import threading

from task_queue import AsyncClient, BrokerProblem, BrokerUnreachable, Client, TaskFailed

client = Client()
name = sys.argv[1]


def refused(code, call):
    try:
        call()
    except BrokerProblem as problem:
        assert problem.code == code, problem
        return problem
    raise AssertionError(f"{code} was expected")


# Submitting: by members, many at once, idempotent, with text of any kind.
text = "é 漢 \u0000 😀"
task_id = client.submit("add", [1, 2, 3], queue=name, meta={"team": "a b&c"}, idempotency_key="k1")
assert client.submit("add", [1, 2, 3], queue=name, meta={"team": "a b&c"}, idempotency_key="k1") == task_id
first, second = client.submit_tasks([{"type": "text", "payload": text, "queue": name}, {"type": "", "queue": name}])
assert first["status"] == "queued" and second["status"] == 400 and second["code"] == "bad_request"
assert refused("bad_request", lambda: client.submit("")).problem["field"] == "type"
listed = client.list_tasks("queued", queue=name, meta={"team": "a b&c"})
assert [task["id"] for task in listed["tasks"]] == [task_id]
assert client.get_task(first["task_id"])["payload"] == text
assert refused("task_not_found", lambda: client.get_task(f"{name}:none")).status == 404
assert refused("bad_request", lambda: client.get_task(f"{name}:none/../x?y")).status == 400

# Working by hand.
leased = client.lease({"queues": [name], "max": 5})["tasks"]
assert [task["payload"] for task in leased] == [[1, 2, 3], text]
assert client.extend({"task_id": task_id, "lease": leased[0]["lease"], "progress": 0.5})["status"] == "ok"
assert client.ack({"task_id": task_id, "lease": leased[0]["lease"], "result": 6})["status"] == "acknowledged"
assert client.result(task_id) == 6
client.ack({"task_id": leased[1]["id"], "lease": leased[1]["lease"], "status": "failed", "error": "no", "retry": False})
try:
    client.result(leased[1]["id"])
    raise AssertionError("the task is dead")
except TaskFailed as failed:
    assert failed.task["status"] == "dead" and "no" in str(failed)
assert client.lease_one(queue=[name]) is None

# Managing; optional bodies; names that need encoding.
assert client.pause_queue(name)["status"] == "paused"
assert client.pause_queue(name, {"reason": "why not"})["status"] == "paused"
assert client.get_queue(name)["pause_reason"] == "why not"
client.resume_queue(name)
group = "tenant a/b?c"
client.set_group_limits(name, group, {"concurrency": 2})
assert client.get_group(name, group)["group"] == group
client.remove_group_limits(name, group)
assert 'tq_tasks{' in client.metrics()
assert client.health()["status"] == "ok" and client.ready()["status"] == "ready"
waiting = client.submit("waits", queue=name)
try:
    client.wait(waiting, timeout=0)
    raise AssertionError("the task has not ended")
except TimeoutError:
    pass

# Events, through a generator.
events = client.listen_events(queue=[name], event=["done"])
assert next(events).event == "listening"
[task] = client.lease({"queues": [name]})["tasks"]
threading.Thread(target=client.ack, args=({"task_id": task["id"], "lease": task["lease"]},)).start()
event = next(events)
assert (event.event, event.data["task_id"]) == ("done", waiting), event

# Errors that say what is wrong.
refused("unauthorized", lambda: Client(token="wrong").list_queues())
try:
    Client("http://127.0.0.1:1").list_queues()
    raise AssertionError("nothing listens there")
except BrokerUnreachable as error:
    assert "127.0.0.1:1" in str(error) and error.retryable
for address in ("localhost:5000", "ftp://x", ""):
    try:
        Client(address or "http://")
        raise AssertionError(f"{address} is no address")
    except ValueError as error:
        assert "http://localhost:5000" in str(error)


async def with_asyncio():
    async_client = AsyncClient()
    ids = await asyncio.gather(*(async_client.submit("add", [n], queue=name) for n in range(20)))
    tasks = (await async_client.lease({"queues": [name], "max": 20}))["tasks"]
    assert [task["id"] for task in tasks] and {task["id"] for task in tasks} == set(ids)
    waiters = [asyncio.ensure_future(async_client.result(id, timeout=30)) for id in ids]
    answers = await async_client.ack([{"task_id": t["id"], "lease": t["lease"], "result": t["payload"][0]} for t in tasks])
    assert all(answer["status"] == "acknowledged" for answer in answers)
    assert sorted(await asyncio.gather(*waiters)) == list(range(20))
    seen = 0
    async for event in async_client.listen_events(queue=[name], event=["submitted"]):
        if event.event == "listening":
            await async_client.submit("seen", queue=name)
        else:
            seen += 1
            break
    assert seen == 1
    await async_client.close()


asyncio.run(with_asyncio())
print("ok")
