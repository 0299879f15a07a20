"""Runs a handler and turns its result or error into the outcome of an ack. Raises nothing."""
from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from typing import Any, Callable

from .lease import Aborted, Lease
from .task import Fatal, RetryIn, Task

MAX_ERROR = 4_000
MAX_CAUSE = 500
MAX_CAUSES = 10
MAX_FRAMES = 5
MAX_TYPES = 50
FIRST_RELEASE_MS, MAX_RELEASE_MS = 1_000, 60_000
MAX_RETRY_IN = 30 * 86_400.0  # seconds

Handlers = dict[str, Callable[..., Any]]


def outcome_of(handlers: Handlers, lease: Lease) -> dict[str, Any]:
    handler = handlers.get(lease.type)
    if handler is None:
        return _unknown_type(handlers, lease)
    try:
        return _done(_call(handler, lease))
    except Aborted:
        return {"status": "released"}
    except Fatal as error:
        return {"status": "failed", "error": format_error(error), "retry": False}
    except RetryIn as error:
        wait = int(max(0.0, min(error.seconds, MAX_RETRY_IN)) * 1000)
        return {"status": "failed", "error": format_error(error), "retry_in_ms": wait}
    except BaseException as error:  # SystemExit must not end the thread without an ack
        return {"status": "failed", "error": format_error(error)}


def _done(result: Any) -> dict[str, Any]:
    """Copies the result as JSON, so that the handler cannot change it later and a bad value does not break the whole batch."""
    try:
        return {"status": "done", "result": json.loads(json.dumps(result, allow_nan=False))}
    except Exception as error:
        return {"status": "failed", "error": f"the handler's result cannot be written as JSON: {_describe(error)}"[:MAX_ERROR]}


def _unknown_type(handlers: Handlers, lease: Lease) -> dict[str, Any]:
    """During a deployment, workers that know the type may be starting: the task is released, with a growing pause."""
    pause = min(FIRST_RELEASE_MS * 2 ** lease.leased.get("releases", 0), MAX_RELEASE_MS)
    known = ", ".join(list(handlers)[:MAX_TYPES])
    error = f"this worker has no handler for type {json.dumps(lease.type)}; it knows {known}"
    return {"status": "released", "error": error[:MAX_ERROR], "retry_in_ms": pause}


def _call(handler: Callable[..., Any], lease: Lease) -> Any:
    arguments = [lease.leased["payload"], Task(lease)][: _parameter_count(handler)]
    result = handler(*arguments)
    return asyncio.run(_await(result, lease)) if inspect.isawaitable(result) else result


def _parameter_count(handler: Callable[..., Any]) -> int:
    kinds = [parameter.kind for parameter in inspect.signature(handler).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


async def _await(result: Any, lease: Lease) -> Any:
    """Awaits the result. An abort cancels the coroutine."""
    loop, running = asyncio.get_running_loop(), asyncio.ensure_future(result)

    def cancel() -> None:
        try:
            loop.call_soon_threadsafe(running.cancel)
        except RuntimeError:
            pass  # the loop has ended

    with lease.condition:
        lease.on_abort.append(cancel)
        if lease.aborted is not None:
            running.cancel()
    try:
        return await running
    except asyncio.CancelledError:
        if lease.aborted is not None:
            raise lease.aborted from None
        raise


def format_error(error: BaseException) -> str:
    """The error, its causes, and the last frames of the handler. /dlq/groups compares the beginning."""
    lines = [_describe(error)]
    seen: set[int] = {id(error)}
    cause = _cause_of(error)
    while cause is not None and id(cause) not in seen and len(seen) <= MAX_CAUSES:
        seen.add(id(cause))
        lines.append(f"caused by {_describe(cause)}"[:MAX_CAUSE])
        cause = _cause_of(cause)
    own = os.path.dirname(__file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if os.path.dirname(frame.filename) != own]
    lines += [f"    at {frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-MAX_FRAMES:])]
    return "\n".join(lines).encode("utf-8", "replace").decode()[:MAX_ERROR]


def _cause_of(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__}, whose text cannot be read"
