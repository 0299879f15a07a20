"""The worker that a program configures, with a handler for each type of task."""
from __future__ import annotations

import os
import re
import threading
from typing import Any, Callable, TypeVar

from .client import from_environment
from .health import Health, HealthServer
from .outcome import Handlers
from .processes import run_processes
from .runner import Runner, Settings, handle_signals

NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,64}")
MAX_CONCURRENCY = 1_000
MAX_DRAIN_MS = 2**31 - 1

AnyHandler = TypeVar("AnyHandler", bound=Callable[..., Any])


class Worker:
    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        queues: list[str] | None = None,
        concurrency: int | None = None,
        drain: float | None = None,
        name: str | None = None,
        health_port: int | None = None,
    ) -> None:
        """What is not given comes from the environment: BROKER_URL, API_SECRET_TOKEN, QUEUES, CONCURRENCY, DRAIN_MS,
        WORKER_NAME, HEALTH_PORT. `concurrency`: tasks at a time, each in a thread; `drain`: seconds that running tasks
        have when the worker stops; `health_port`: port of the health check, 0 for none."""
        read = os.environ.get
        named = [queue.strip() for queue in (read("QUEUES") or "default").split(",")]
        self._settings = Settings(
            *from_environment(url, token),
            queues=queues or [queue for queue in named if queue],
            concurrency=_number_from("CONCURRENCY", 10, 1, MAX_CONCURRENCY) if concurrency is None else concurrency,
            drain=_number_from("DRAIN_MS", 20_000, 0, MAX_DRAIN_MS) / 1000 if drain is None else drain,
            name=name or read("WORKER_NAME") or None,
        )
        _check(self._settings)
        self._health_port = _number_from("HEALTH_PORT", 0, 0, 65_535) if health_port is None else health_port
        self._handlers: Handlers = {}
        self._runner: Runner | None = None

    def handler(self, type: str) -> Callable[[AnyHandler], AnyHandler]:
        """A decorator: the function runs tasks of this type. It takes the payload and, if it has a second parameter, the
        Task. What it returns becomes the result; what it raises, the error. It may be a coroutine function."""
        if not isinstance(type, str):  # without parentheses, the decorator gets the function and would register nothing
            raise TypeError('the handler has no task type: write @worker.handler("greet")')

        def register(function: AnyHandler) -> AnyHandler:
            if type in self._handlers:
                raise ValueError(f"the type {type!r} already has a handler")
            self._handlers[type] = function
            return function

        return register

    def run(self, processes: int = 1) -> int:
        """Runs until SIGTERM, SIGINT or SIGHUP, or until an operator drains the worker. A second signal ends it at once.
        With `processes`, that many processes share the work, each with `concurrency` threads; one that dies is replaced.
        Returns 0 if the broker has answered all acks, so that a program may end with `sys.exit(worker.run())`."""
        if not self._handlers:
            raise ValueError("the worker has no handlers: register them with @worker.handler(type)")
        if processes > 1:
            return run_processes(self._settings, self._handlers, self._health_port, processes)
        health = Health()
        with HealthServer(self._health_port, [health]) as server:
            threading.Thread(target=server.serve, name="health", daemon=True).start()
            self._runner = Runner(self._settings, self._handlers, health)
            handle_signals(self._runner)
            return self._runner.run()

    def stop(self) -> None:
        """Makes `run` end as after a signal. May be called by any thread. Not for several processes: signal the parent."""
        if self._runner is not None:
            self._runner.stop()


def _check(settings: Settings) -> None:
    """Raises for values that the broker would refuse with each request, and for those with which no task is ever leased."""
    name = '1 to 64 characters from A-Z a-z 0-9 . _ -, but not "." or ".."'
    queues, concurrency, drain = settings.queues, settings.concurrency, settings.drain
    faults = []
    if not isinstance(queues, (list, tuple)) or not 1 <= len(queues) <= 100 or not all(map(_is_name, queues)):
        faults.append(f"queues (QUEUES) must be a list of 1 to 100 names, each of {name}")
    if not isinstance(concurrency, int) or not 1 <= concurrency <= MAX_CONCURRENCY:
        faults.append(f"concurrency must be a whole number from 1 to {MAX_CONCURRENCY}")
    if not isinstance(drain, (int, float)) or not 0 <= drain <= MAX_DRAIN_MS / 1000:
        faults.append(f"drain must be a number of seconds from 0 to {MAX_DRAIN_MS // 1000}")
    if settings.name is not None and not _is_name(settings.name):
        faults.append(f"name (WORKER_NAME) must have {name}")
    if faults:
        raise ValueError("; ".join(faults))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _number_from(variable: str, default: int, least: int, most: int) -> int:
    text = (os.environ.get(variable) or str(default)).strip()
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ValueError(f"{variable} must be a whole number from {least} to {most}, not {text[:40]!r}")
    return int(text)
