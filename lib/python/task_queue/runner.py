"""One process of a worker: leases tasks, runs their handlers in threads, and acks the outcomes.

Leases are extended while handlers run. If a lease is lost or its task is cancelled, the next call of the handler's Task
raises an Aborted. When it stops, it takes no new tasks; running ones get the time to drain, then they are aborted and
released, which does not count as a failure.
"""
from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from typing import Any, Callable, NamedTuple

from .conversation import Conversation
from .health import Health
from .lease import Lease, WorkerStopping
from .outcome import Handlers, outcome_of
from .transport import Transport

GRACE = 1.0  # seconds for handlers that were aborted
LAST_ACKS = 5.0  # seconds for the last acks
LOOK_EVERY = 0.5  # seconds, for signals and the health
MAX_UNKNOWN_TYPES = 1_000
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger("task_queue")


class Settings(NamedTuple):
    url: str
    token: str
    queues: list[str]
    concurrency: int
    drain: float
    name: str | None


class Runner:
    def __init__(self, settings: Settings, handlers: Handlers, health: Health) -> None:
        self._settings, self._handlers, self._health = settings, handlers, health
        self._condition = threading.Condition()
        self._running: set[Lease] = set()
        self._unknown_types: set[str] = set()
        self.is_stopping = False
        host = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in socket.gethostname()) or "-"
        name = settings.name or f"{host[:40]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        log.info("The worker is ready: %s, queues %s, types %s", name, settings.queues, list(handlers))
        self._conversation = Conversation(
            Transport(settings.url, settings.token),
            name,
            {
                "instance": uuid.uuid4().hex[:13],
                "host": host[:64],
                "version": "python",
                "concurrency": settings.concurrency,
            },
            settings.queues,
            self._condition,
            lambda: settings.concurrency - len(self._running),
            self._begin,
        )

    def run(self) -> int:
        """Returns 0 if the broker has answered all acks, otherwise 1."""
        with self._condition:
            while not self.is_stopping and not (self._conversation.is_draining and not self._running):
                self._report_health()
                self._condition.wait(LOOK_EVERY)
            return self._drain()

    def stop(self) -> None:
        """Needs no lock, so that a signal handler may call it."""
        self.is_stopping = True

    def _begin(self, lease: Lease) -> None:
        self._running.add(lease)
        if self.is_stopping:  # it arrived after the stop
            self._finish(lease, {"status": "released"})
        else:
            threading.Thread(target=self._run_task, args=(lease,), name=f"task {lease.id}", daemon=True).start()

    def _run_task(self, lease: Lease) -> None:
        outcome = outcome_of(self._handlers, lease)
        with self._condition:
            if outcome["status"] == "failed" and lease.aborted is None:
                error = "its error is redacted" if lease.leased.get("redact") else outcome["error"]
                log.warning("An attempt of task %s failed: %s", lease.id, error)
            elif outcome["status"] == "released" and "error" in outcome:
                self._warn_of_unknown_type(lease.type, outcome["error"])
            self._finish(lease, outcome)

    def _warn_of_unknown_type(self, type: str, error: str) -> None:
        """Logs one line per type."""
        if type not in self._unknown_types and len(self._unknown_types) < MAX_UNKNOWN_TYPES:
            self._unknown_types.add(type)
            log.warning("Tasks of an unknown type are released: %s", error)

    def _finish(self, lease: Lease, outcome: dict[str, Any]) -> None:
        """Frees the slot, and acks the outcome unless the lease is lost or the task was acked before."""
        if lease not in self._running:
            return
        self._running.remove(lease)
        if lease.lost is None:
            # An aborted handler may have stopped half-way, whatever it returned.
            self._conversation.settle(lease, {"status": "released"} if lease.aborted is not None else outcome)
        self._condition.notify_all()

    def _drain(self) -> int:
        self.is_stopping = True
        log.info("The worker is stopping and takes no new tasks (running: %d)", len(self._running))
        self._conversation.stop_fetching()
        self._wait_until(lambda: not self._running, self._settings.drain)
        for lease in self._running:
            lease.abort(WorkerStopping("the worker is stopping and its time to drain has passed"))
        self._wait_until(lambda: not self._running, GRACE)
        for lease in list(self._running):
            log.warning("The handler of task %s ignored its abort; the task is released", lease.id)
            self._finish(lease, {"status": "released"})
        self._wait_until(lambda: self._conversation.is_idle, LAST_ACKS)
        unanswered = self._conversation.unanswered
        self._conversation.close()
        log.info("The worker has stopped (unanswered acks: %d)", unanswered)
        return 1 if unanswered > 0 else 0

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition() and (left := end - time.monotonic()) > 0:
            self._report_health()
            self._condition.wait(min(left, LOOK_EVERY))

    def _report_health(self) -> None:
        self._health.report(self._conversation.last_answer_at, self._conversation.waiting_since, len(self._running))


def handle_signals(runner: Runner) -> None:
    """The first signal stops the runner, a second one ends the process. Only the main thread can handle signals."""

    def stop(number: int, frame: Any) -> None:
        if runner.is_stopping:
            os._exit(128 + number)
        runner.stop()

    if threading.current_thread() is threading.main_thread():
        for each in STOP_SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                signal.signal(each, stop)
