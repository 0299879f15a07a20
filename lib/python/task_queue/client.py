"""The client: every call of the API, and three that wait for a task or need no dictionary."""
from __future__ import annotations

import os
import time
from typing import Any, cast

from .api import AsyncCalls, Calls, Submit, TaskView
from .transport import TaskQueueError

ENDED = ("done", "dead", "cancelled")
MAX_WAIT = 20.0  # seconds that one request waits


class TaskFailed(TaskQueueError):
    """The task ended as dead or cancelled. `task` is its view."""

    def __init__(self, task: TaskView) -> None:
        self.task = task
        super().__init__(f"task {task['id']} is {task['status']}: {task.get('error') or task.get('reason') or 'cancelled'}")


def from_environment(url: str | None, token: str | None) -> tuple[str, str]:
    """The address and the token of the broker: those given, or BROKER_URL and API_SECRET_TOKEN."""
    token = os.environ.get("API_SECRET_TOKEN", "") if token is None else token
    if not token:
        raise ValueError("the token of the broker is missing: pass `token`, or set API_SECRET_TOKEN")
    return url or os.environ.get("BROKER_URL") or "http://localhost:5000", token


def _submission(type: str, payload: Any, members: dict[str, Any]) -> tuple[Submit, str | None]:
    key = members.pop("idempotency_key", None)
    return cast(Submit, {"type": type, "payload": payload, **members}), key


class Client(Calls):
    """Calls the broker. Methods are named like the operations of the API; they return the broker's answer or raise a
    BrokerProblem or BrokerUnreachable. No request is repeated: `retryable` says whether repeating it can help."""

    def __init__(self, url: str | None = None, token: str | None = None, **options: Any) -> None:
        super().__init__(*from_environment(url, token), **options)

    def submit(self, type: str, payload: Any = {}, **members: Any) -> str:
        """Submits a task and returns its id. `members` are those of Submit, and `idempotency_key`."""
        task, key = _submission(type, payload, members)
        return self.submit_tasks(task, idempotency_key=key)["task_id"]

    def wait(self, task_id: str, timeout: float | None = None) -> TaskView:
        """Waits until the task has ended. TimeoutError after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = MAX_WAIT if end is None else min(MAX_WAIT, max(0.0, end - time.monotonic()))
            task = self.get_task(task_id, wait_ms=int(left * 1000))
            if task["status"] in ENDED:
                return task
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"task {task_id} is still {task['status']} after {timeout:g} s")

    def result(self, task_id: str, timeout: float | None = None) -> Any:
        """Waits until the task has ended and returns its result. TaskFailed if it is dead or cancelled."""
        return _result_of(self.wait(task_id, timeout))


class AsyncClient(AsyncCalls):
    """The client for asyncio, with the same calls as coroutines."""

    def __init__(self, url: str | None = None, token: str | None = None, **options: Any) -> None:
        super().__init__(*from_environment(url, token), **options)

    async def submit(self, type: str, payload: Any = {}, **members: Any) -> str:
        """Submits a task and returns its id. `members` are those of Submit, and `idempotency_key`."""
        task, key = _submission(type, payload, members)
        return (await self.submit_tasks(task, idempotency_key=key))["task_id"]

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskView:
        """Waits until the task has ended. TimeoutError after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = MAX_WAIT if end is None else min(MAX_WAIT, max(0.0, end - time.monotonic()))
            task = await self.get_task(task_id, wait_ms=int(left * 1000))
            if task["status"] in ENDED:
                return task
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"task {task_id} is still {task['status']} after {timeout:g} s")

    async def result(self, task_id: str, timeout: float | None = None) -> Any:
        """Waits until the task has ended and returns its result. TaskFailed if it is dead or cancelled."""
        return _result_of(await self.wait(task_id, timeout))


def _result_of(task: TaskView) -> Any:
    if task["status"] != "done":
        raise TaskFailed(task)
    return task.get("result")
