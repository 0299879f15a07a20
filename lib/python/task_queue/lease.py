"""A lease that a worker holds: its deadlines, and the updates of its handler that are to be sent. The caller holds the
condition. Times are of time.monotonic()."""
from __future__ import annotations

import math
import threading
import time
from typing import Any, Callable

from .api import Extend, LeasedTask

MAX_LOG_LINES = 20
BATCH_UPDATES = 1.0  # seconds that progress and log lines are collected


class Aborted(BaseException):
    """Ends a handler whose outcome no longer counts. Like KeyboardInterrupt it is not an Exception, so that a handler does not
    catch it by mistake."""


class LeaseLost(Aborted):
    """Another worker may have the task now."""


class TaskCancelled(Aborted):
    """The task was cancelled."""


class WorkerStopping(Aborted):
    """The worker stops, and the time for running tasks has passed."""


class Update:
    """What the next request reports about the task."""

    def __init__(self, send_at: float) -> None:
        self.send_at = send_at
        self.values: dict[str, Any] = {}
        self.log: list[str] = []
        self.waiting: list[list[BaseException | None]] = []
        """One list for each checkpoint that a handler waits for; it receives the outcome, None for success."""


class Lease:
    def __init__(self, leased: LeasedTask, condition: threading.Condition) -> None:
        now = time.monotonic()
        self.leased = leased
        self.id, self.type, self.token = leased["id"], leased["type"], leased["lease"]
        self.condition = condition
        self.timeout = leased["timeout_ms"] / 1000
        self.ends_at = now + leased.get("max_runtime_ms", math.inf) / 1000
        self.lapses_at = min(now + self.timeout, self.ends_at)
        self.extend_at = now + self.timeout / 3
        self.is_over = False
        """No update is taken any more: the attempt is over."""
        self.lost: LeaseLost | None = None
        self.aborted: Aborted | None = None
        self.on_abort: list[Callable[[], None]] = []
        self._update: Update | None = None
        self._sent: Update | None = None

    @property
    def update_at(self) -> float:
        """When to send the pending update; infinite if there is none."""
        return math.inf if self._update is None else self._update.send_at

    @property
    def has_sent_update(self) -> bool:
        return self._sent is not None

    def collect(self, within: float) -> Update:
        send_at = time.monotonic() + within
        if self._update is None:
            self._update = Update(send_at)
        self._update.send_at = min(self._update.send_at, send_at)
        self.condition.notify_all()
        return self._update

    def add_log_line(self, line: str) -> None:
        log = self.collect(BATCH_UPDATES).log
        log.append(line)
        del log[:-MAX_LOG_LINES]

    def take_extension(self) -> Extend:
        """The item for a request that is sent now."""
        extension: Extend = {"task_id": self.id, "lease": self.token}
        self._sent, self._update = self._update, None
        if self._sent is not None:
            extension.update(self._sent.values)  # type: ignore[typeddict-item]
            if self._sent.log:
                extension["log"] = self._sent.log
        return extension

    def mark_extended(self, sent_at: float) -> None:
        self.lapses_at = min(sent_at + self.timeout, self.ends_at)
        self.extend_at = sent_at + self.timeout / 3
        self._answer(self._sent, None)
        self._sent = None

    def retry_update(self, again: float) -> None:
        """It is unknown whether the broker has extended the lease: the update is sent again in `again` seconds."""
        sent, newer, self._sent = self._sent, self._update, None
        if sent is not None:
            if newer is not None:
                sent.values.update(newer.values)
                sent.log = (sent.log + newer.log)[-MAX_LOG_LINES:]
                sent.waiting += newer.waiting
            self._update = sent
        # Even if the broker asks for a longer pause, the retry must come before the lease lapses.
        self.extend_at = time.monotonic() + min(again, self.timeout / 6)

    def drop_update(self, why: BaseException) -> None:
        for update in (self._sent, self._update):
            self._answer(update, why)
        self._sent = self._update = None

    def _answer(self, update: Update | None, outcome: BaseException | None) -> None:
        for waiting in update.waiting if update else []:
            waiting.append(outcome)
        self.condition.notify_all()

    def abort(self, reason: Aborted) -> None:
        """Only the first reason counts."""
        if self.aborted is None:
            self.aborted = reason
            for call in self.on_abort:
                call()
            self.condition.notify_all()

    def lose(self, why: str) -> None:
        self.is_over = True
        self.lost = LeaseLost(f"the lease of task {self.id} is lost: {why}")
        self.drop_update(self.lost)
        self.abort(self.lost)
