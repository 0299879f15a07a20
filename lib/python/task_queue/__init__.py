"""Client and worker for the task queue. README.md has examples."""
from .client import AsyncClient, Client, TaskFailed
from .lease import Aborted, LeaseLost, TaskCancelled, WorkerStopping
from .task import Fatal, RetryIn, Task
from .transport import BrokerProblem, BrokerUnreachable, Event, TaskQueueError
from .worker import Worker

__all__ = [
    "Aborted",
    "AsyncClient",
    "BrokerProblem",
    "BrokerUnreachable",
    "Client",
    "Event",
    "Fatal",
    "LeaseLost",
    "RetryIn",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskQueueError",
    "Worker",
    "WorkerStopping",
]
