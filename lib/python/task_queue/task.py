"""What the handler of a task sees of it."""
from __future__ import annotations

import json
import time
from typing import Any

from .lease import BATCH_UPDATES, Lease

MAX_LINE = 500
MAX_PROGRESS = 1_024  # bytes
MAX_CHECKPOINT = 16_384  # bytes


class Fatal(Exception):
    """A handler raises this to fail the task without another attempt."""


class RetryIn(Exception):
    """A handler raises this to fail the attempt. The next one, if any is left, starts in `seconds`, whatever the backoff."""

    def __init__(self, seconds: float, message: str = "") -> None:
        self.seconds = seconds
        super().__init__(message or f"try again in {seconds:g} s")


class Task:
    """A leased task. Its methods may be called by any thread, and raise an Aborted if the handler should stop, because its
    outcome no longer counts."""

    def __init__(self, lease: Lease) -> None:
        leased = lease.leased
        self.leased = leased
        """All that the broker says about the task."""
        self.id = leased["id"]
        self.type = leased["type"]
        self.queue = leased["queue"]
        self.attempt = leased["attempt"]
        self.payload: Any = leased["payload"]
        self.checkpoint: Any = leased.get("checkpoint")
        """The checkpoint that was stored last, perhaps by an earlier attempt, or None."""
        self._lease = lease

    @property
    def is_aborted(self) -> bool:
        return self._lease.aborted is not None

    def check(self) -> None:
        """Raises an Aborted if the handler should stop."""
        if self._lease.aborted is not None:
            raise self._lease.aborted

    def sleep(self, seconds: float) -> None:
        """Like time.sleep, but ends as soon as the handler should stop."""
        end = time.monotonic() + seconds
        with self._lease.condition:
            while not self.is_aborted and (left := end - time.monotonic()) > 0:
                self._lease.condition.wait(left)
        self.check()

    def progress(self, value: Any) -> None:
        """Reports progress: any JSON of up to 1,024 bytes. /status shows it within about a second."""
        copy = _json_copy("progress", value, MAX_PROGRESS)
        with self._lease.condition:
            self.check()
            if not self._lease.is_over:
                self._lease.collect(BATCH_UPDATES).values["progress"] = copy

    def log(self, line: object) -> None:
        """Stores a line with the task. /status shows the newest 20 lines, cut to 500 characters each."""
        text = str(line).encode("utf-8", "replace").decode()[:MAX_LINE]
        with self._lease.condition:
            self.check()
            if not self._lease.is_over:
                self._lease.add_log_line(text)

    def save(self, checkpoint: Any) -> None:
        """Stores what the next attempt needs to continue: any JSON of up to 16,384 bytes. Returns when it is stored."""
        copy = _json_copy("a checkpoint", checkpoint, MAX_CHECKPOINT)
        outcome: list[BaseException | None] = []
        with self._lease.condition:
            self.check()
            if self._lease.is_over:
                raise RuntimeError("the checkpoint was not stored: the attempt is over")
            update = self._lease.collect(0)
            update.values["checkpoint"] = copy
            update.waiting.append(outcome)
            while not outcome and not self.is_aborted:
                self._lease.condition.wait()
        if outcome and outcome[0] is not None:
            raise outcome[0]
        if not outcome:
            self.check()
        self.checkpoint = copy


def _json_copy(what: str, value: Any, most: int) -> Any:
    """A copy of the value, so that the handler cannot change it after the call."""
    text = json.dumps(value, allow_nan=False)
    if len(text.encode()) > most:
        raise ValueError(f"{what} takes at most {most} bytes of JSON")
    return json.loads(text)
