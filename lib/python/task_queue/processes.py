"""Several processes that each run the worker. This one only watches them and serves their health."""
from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from typing import Any

from .health import Health, HealthServer
from .outcome import Handlers
from .runner import STOP_SIGNALS, Runner, Settings, handle_signals

LOOK_EVERY = 0.2  # seconds

log = logging.getLogger("task_queue")


def run_processes(settings: Settings, handlers: Handlers, health_port: int, count: int) -> int:
    """Returns 0 if every process ended with 0."""
    healths = [Health() for _ in range(count)]
    numbers: dict[int, int] = {}  # by process id
    parent_alive, held_by_parent = os.pipe()
    stopped_by: list[int] = []

    def stop(signal_number: int, frame: Any) -> None:
        stopped_by.append(signal_number)
        for pid in numbers:
            os.kill(pid, signal_number)

    def start(number: int) -> None:
        # A signal between the fork and the entry in the table would miss the new process.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork()
        if pid == 0:
            server.close()
            os.close(held_by_parent)
            named = settings if settings.name is None else settings._replace(name=f"{settings.name[:60]}-{number}")
            _run_child(named, handlers, healths[number], parent_alive)
        numbers[pid] = number
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    for each in STOP_SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(each, stop)
    worst = 0
    with HealthServer(health_port, healths) as server:
        for number in range(count):
            start(number)
        while numbers:
            server.serve(LOOK_EVERY)
            for number, code in _ended(numbers):
                if stopped_by or code == 0:
                    worst = max(worst, abs(code))
                    continue
                log.error("Process %d of the worker ended with exit code %d (negative: a signal) and is being replaced", number, code)
                time.sleep(random.uniform(0.5, 1))  # it may die at its start each time
                if not stopped_by:
                    start(number)
    return worst


def _ended(numbers: dict[int, int]) -> list[tuple[int, int]]:
    """The numbers and exit codes of the processes that have ended since the last call."""
    ended: list[tuple[int, int]] = []
    for pid in list(numbers):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found != 0:
            ended.append((numbers.pop(pid), os.waitstatus_to_exitcode(status)))
    return ended


def _run_child(settings: Settings, handlers: Handlers, health: Health, parent_alive: int) -> None:
    """Never returns: a child must not go on with what its parent was doing."""
    code = 1
    try:
        runner = Runner(settings, handlers, health)

        def stop_with_parent() -> None:
            os.read(parent_alive, 1)  # ends when no process holds the other end
            runner.stop()

        threading.Thread(target=stop_with_parent, name="parent", daemon=True).start()
        handle_signals(runner)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        code = runner.run()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
