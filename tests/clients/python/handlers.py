"""A worker for tests: it records each run in a file of $RUNS, one line `id attempt`."""
import asyncio
import os
import signal
import sys
import time

from task_queue import Aborted, Fatal, RetryIn, Worker

worker = Worker()
runs = os.path.join(os.environ["RUNS"], "worker-{}")


def record(task):
    """O_APPEND and a single write: no line is lost if the worker is killed, and lines are never interleaved."""
    file = os.open(runs.format(os.getpid()), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{task.id} {task.attempt}\n".encode())
    os.close(file)


def note(text):
    with open(os.path.join(os.environ["RUNS"], "notes"), "a") as notes:
        notes.write(text + "\n")


@worker.handler("record")
def _(payload, task):
    record(task)


@worker.handler("add")
def add(payload):
    return sum(payload)


@worker.handler("hold")
def hold(payload, task):
    """Runs until the file `go` exists."""
    record(task)
    try:
        while not os.path.exists(os.path.join(os.environ["RUNS"], "go")):
            task.sleep(0.005)
    except Aborted as reason:
        note(type(reason).__name__)
        raise
    return "held"


@worker.handler("hold async")
async def hold_async(payload, task):
    record(task)
    try:
        while not os.path.exists(os.path.join(os.environ["RUNS"], "go")):
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        note("CancelledError")
        raise
    return "held"


@worker.handler("deaf")
def deaf(payload, task):
    """Ignores that it was aborted."""
    record(task)
    while not os.path.exists(os.path.join(os.environ["RUNS"], "go")):
        time.sleep(0.005)


@worker.handler("steps")
def steps(payload, task):
    """Stores a checkpoint, and fails at its first attempt."""
    task.log(f"attempt {task.attempt} begins at {task.checkpoint}")
    task.progress({"done": 1, "of": 2})
    if task.attempt == 1:
        task.save({"next": 1})
        raise RetryIn(0, "once more")
    return {"from": task.checkpoint}


@worker.handler("fatal")
def fatal(payload):
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise Fatal("outer") from error


@worker.handler("return")
def give(payload):
    """Returns what no JSON can hold, or what the broker refuses."""
    return {"nan": float("nan"), "set": {1}, "large": "x" * 5_000_000, "exit": None}[payload]


@worker.handler("exit")
def leave(payload):
    sys.exit(3)


@worker.handler("kill")
def kill(payload, task):
    record(task)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    import logging

    logging.basicConfig(level="INFO", format="%(message)s")
    sys.exit(worker.run(processes=int(os.environ.get("PROCESSES", "1"))))
