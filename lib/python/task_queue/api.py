"""Models and calls of the broker's API. Generated from its OpenAPI document by generate.py: do not edit."""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, TypedDict, overload

from .transport import AsyncTransport, Event, Transport


class Cancelled(TypedDict):
    status: Literal["cancelled", "cancelling"]
    """cancelling: a worker runs the task and learns of it when it extends"""
    task_id: str


class _SubmitBackoff(TypedDict):
    kind: Literal["fixed", "exponential"]
    delay_ms: int
    """the delay before the first retry, in ms"""


class SubmitBackoff(_SubmitBackoff, total=False):
    max_ms: int
    """the longest delay, in ms (default: 30 days)"""
    jitter: bool
    """true (the default): a random time between 0 and the delay, so that retries spread out"""


class _Submit(TypedDict):
    type: str
    """the name of the handler that runs the task"""


class Submit(_Submit, total=False):
    payload: Any
    """any JSON; workers get it exactly as it was sent (default {})"""
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    priority: int
    """9 is leased first (default 5)"""
    max_retries: int
    """failures allowed before the task is dead (default: the broker's MAX_RETRIES)"""
    max_crashes: int
    """lapsed leases allowed before the task is dead (default: the broker's MAX_CRASHES)"""
    timeout_ms: int
    """how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)"""
    max_runtime_ms: int
    """the maximum duration of an attempt, in ms, however often its lease is extended"""
    expires_in_ms: int
    """how long after the submit an attempt may still start, in ms"""
    backoff: SubmitBackoff
    """how long to wait before the next attempt"""
    result_ttl_ms: int
    """how long the task is kept after it is done, in ms"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; tasks of a group, such as a tenant, share its turns and limits"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters"""
    redact: bool
    """true: only workers and tokens with the role operate may see payload, result, errors, progress, checkpoint and log lines (default false)"""
    traceparent: str
    """W3C trace context, of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits> in lower case; default: the traceparent header of the request"""
    tracestate: str
    """W3C trace context"""
    task_id: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    unique_key: str
    """1 to 128 printable ASCII characters without spaces"""
    on_duplicate: Literal["keep", "replace"]
    """with unique_key: keep the waiting task that holds the key, or give it everything in this submit (default keep)"""
    run_at: int
    """the earliest start, in milliseconds since 1970"""
    delay_ms: int
    """the earliest start, in ms from now"""


class _Submitted(TypedDict):
    status: Literal["queued", "scheduled", "duplicate"]
    task_id: str


class Submitted(_Submitted, total=False):
    replayed: Literal[True]
    """the key was used before: this is the first answer again"""
    duplicate: Literal[True]
    """this task already holds the unique key, and no task was created"""
    replaced: Literal[True]
    """the task received everything in this submit"""


class Again(TypedDict, total=False):
    payload: Any
    """any JSON; workers get it exactly as it was sent (default: as before)"""
    run_at: int
    """the earliest start, in milliseconds since 1970"""
    delay_ms: int
    """the earliest start, in ms from now"""


class _SubmittedAgain(TypedDict):
    status: Literal["queued", "scheduled", "duplicate"]
    task_id: str
    again_of: str
    """the task that the new one was copied from"""


class SubmittedAgain(_SubmittedAgain, total=False):
    replayed: Literal[True]
    """the key was used before: this is the first answer again"""
    duplicate: Literal[True]
    """this task already holds the unique key, and no task was created"""
    replaced: Literal[True]
    """the task received everything in this submit"""


class TaskChange(TypedDict, total=False):
    payload: Any
    """any JSON; workers get it exactly as it was sent"""
    priority: int
    """9 is leased first"""
    run_at: int
    """the earliest start, in milliseconds since 1970; if it has passed, the task is ready at once"""
    delay_ms: int
    """the earliest start, in ms from now; 0: at once"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters; all labels of the task"""


class TaskChanged(TypedDict):
    status: Literal["changed"]
    task_id: str


class TaskDeleted(TypedDict):
    status: Literal["deleted"]
    task_id: str


class Preview(TypedDict, total=False):
    cron: str
    """five fields (minute hour day month weekday), such as `0 7 * * mon-fri`, or @hourly, @daily, @weekly, @monthly or @yearly"""
    time_zone: str
    """the zone of `cron`: an IANA name such as Europe/Berlin (default UTC)"""
    every_ms: int
    """instead of `cron`: the interval in ms; the planned times are its multiples since 1970"""
    starts_at: int
    """the earliest time, in milliseconds since 1970"""
    ends_at: int
    """the latest time, in milliseconds since 1970"""
    from_at: int
    """the times after this one (default: now)"""


class Previewed(TypedDict):
    next: list[int]
    """the next ten times, or all if there are fewer"""


class _ScheduleTaskBackoff(TypedDict):
    kind: Literal["fixed", "exponential"]
    delay_ms: int
    """the delay before the first retry, in ms"""


class ScheduleTaskBackoff(_ScheduleTaskBackoff, total=False):
    max_ms: int
    """the longest delay, in ms (default: 30 days)"""
    jitter: bool
    """true (the default): a random time between 0 and the delay, so that retries spread out"""


class _ScheduleTask(TypedDict):
    type: str
    """the name of the handler that runs the task"""


class ScheduleTask(_ScheduleTask, total=False):
    payload: Any
    """any JSON; workers get it exactly as it was sent (default {})"""
    priority: int
    """9 is leased first (default 5)"""
    max_retries: int
    """failures allowed before the task is dead (default: the broker's MAX_RETRIES)"""
    max_crashes: int
    """lapsed leases allowed before the task is dead (default: the broker's MAX_CRASHES)"""
    timeout_ms: int
    """how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)"""
    max_runtime_ms: int
    """the maximum duration of an attempt, in ms, however often its lease is extended"""
    expires_in_ms: int
    """how long after the submit an attempt may still start, in ms"""
    backoff: ScheduleTaskBackoff
    """how long to wait before the next attempt"""
    result_ttl_ms: int
    """how long the task is kept after it is done, in ms"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; tasks of a group, such as a tenant, share its turns and limits"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters"""
    redact: bool
    """true: only workers and tokens with the role operate may see payload, result, errors, progress, checkpoint and log lines (default false)"""
    traceparent: str
    """W3C trace context, of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits> in lower case; default: the traceparent header of the request"""
    tracestate: str
    """W3C trace context"""
    unique_key: str
    """1 to 128 printable ASCII characters without spaces"""
    on_duplicate: Literal["keep", "replace"]
    """with unique_key: keep the waiting task that holds the key, or give it everything in this submit (default keep)"""


class _Schedule(TypedDict):
    task: ScheduleTask
    """what /submit takes, except queue, task_id, delay_ms and run_at"""


class Schedule(_Schedule, total=False):
    cron: str
    """five fields (minute hour day month weekday), such as `0 7 * * mon-fri`, or @hourly, @daily, @weekly, @monthly or @yearly"""
    time_zone: str
    """the zone of `cron`: an IANA name such as Europe/Berlin (default UTC)"""
    every_ms: int
    """instead of `cron`: the interval in ms; the planned times are its multiples since 1970"""
    starts_at: int
    """the earliest time, in milliseconds since 1970"""
    ends_at: int
    """the latest time, in milliseconds since 1970"""
    jitter_ms: int
    """each run starts up to this many ms after its planned time; the delay depends only on the schedule and that time"""
    on_missed: Literal["one", "none", "all"]
    """if several planned times passed because no broker ran or there was no room: one task for the newest (the default), none, or one for each, at most the newest 100"""
    on_overlap: Literal["allow", "skip", "cancel"]
    """if the previous task has not ended: create the next one anyway (the default), skip it, or cancel the previous one"""


class ScheduleDeleted(TypedDict):
    status: Literal["deleted"]
    schedule: str


class _SchedulePaused(TypedDict):
    status: Literal["paused", "resumed"]
    schedule: str


class SchedulePaused(_SchedulePaused, total=False):
    paused_at: int
    """since when the schedule has been paused"""
    next_at: int
    """when resumed: the next planned time"""


class ScheduleRun(TypedDict):
    status: Literal["queued", "skipped", "duplicate"]
    """skipped: `on_overlap` is skip and the previous task has not ended; duplicate: a task holds the unique key"""
    task_id: str
    """the new task, or the one that prevented it"""


class _ScheduleSet(TypedDict):
    schedule: str
    changed: bool
    """false: the request changed neither the schedule nor its next time"""


class ScheduleSet(_ScheduleSet, total=False):
    next_at: int
    """the next planned time; absent: there is none"""


class _ScheduleViewTaskBackoff(TypedDict):
    kind: Literal["fixed", "exponential"]
    delay_ms: int
    """the delay before the first retry, in ms"""


class ScheduleViewTaskBackoff(_ScheduleViewTaskBackoff, total=False):
    max_ms: int
    """the longest delay, in ms (default: 30 days)"""
    jitter: bool
    """true (the default): a random time between 0 and the delay, so that retries spread out"""


class _ScheduleViewTask(TypedDict):
    type: str
    """the name of the handler that runs the task"""


class ScheduleViewTask(_ScheduleViewTask, total=False):
    payload: Any
    """any JSON; workers get it exactly as it was sent (default {})"""
    priority: int
    """9 is leased first (default 5)"""
    max_retries: int
    """failures allowed before the task is dead (default: the broker's MAX_RETRIES)"""
    max_crashes: int
    """lapsed leases allowed before the task is dead (default: the broker's MAX_CRASHES)"""
    timeout_ms: int
    """how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)"""
    max_runtime_ms: int
    """the maximum duration of an attempt, in ms, however often its lease is extended"""
    expires_in_ms: int
    """how long after the submit an attempt may still start, in ms"""
    backoff: ScheduleViewTaskBackoff
    """how long to wait before the next attempt"""
    result_ttl_ms: int
    """how long the task is kept after it is done, in ms"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; tasks of a group, such as a tenant, share its turns and limits"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters"""
    redact: bool
    """true: only workers and tokens with the role operate may see payload, result, errors, progress, checkpoint and log lines (default false)"""
    traceparent: str
    """W3C trace context, of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits> in lower case; default: the traceparent header of the request"""
    tracestate: str
    """W3C trace context"""
    unique_key: str
    """1 to 128 printable ASCII characters without spaces"""
    on_duplicate: Literal["keep", "replace"]
    """with unique_key: keep the waiting task that holds the key, or give it everything in this submit (default keep)"""


class _ScheduleViewLast(TypedDict):
    task_id: str
    planned_at: int
    """its planned time, or when it was created by hand"""


class ScheduleViewLast(_ScheduleViewLast, total=False):
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"]
    """absent: the task was deleted"""


class _ScheduleView(TypedDict):
    task: ScheduleViewTask
    """what /submit takes, except queue, task_id, delay_ms and run_at"""
    schedule: str
    """its id, `queue:name`"""
    queue: str
    next: list[int]
    """the next planned times, at most five, without jitter"""
    fired: int
    """how many tasks it has created"""
    missed: int
    """how many planned times got no task because no broker ran in time, or there was no room"""
    skipped: int
    """how many planned times got no task because the previous task had not ended or another task held the unique key"""
    paused: bool


class ScheduleView(_ScheduleView, total=False):
    cron: str
    """five fields (minute hour day month weekday), such as `0 7 * * mon-fri`, or @hourly, @daily, @weekly, @monthly or @yearly"""
    time_zone: str
    """the zone of `cron`: an IANA name such as Europe/Berlin (default UTC)"""
    every_ms: int
    """instead of `cron`: the interval in ms; the planned times are its multiples since 1970"""
    starts_at: int
    """the earliest time, in milliseconds since 1970"""
    ends_at: int
    """the latest time, in milliseconds since 1970"""
    jitter_ms: int
    """each run starts up to this many ms after its planned time; the delay depends only on the schedule and that time"""
    on_missed: Literal["one", "none", "all"]
    """if several planned times passed because no broker ran or there was no room: one task for the newest (the default), none, or one for each, at most the newest 100"""
    on_overlap: Literal["allow", "skip", "cancel"]
    """if the previous task has not ended: create the next one anyway (the default), skip it, or cancel the previous one"""
    hidden: Literal[True]
    """the token may not see the payload of `task`, which is left out"""
    next_at: int
    """the next planned time; absent: there is none"""
    last: ScheduleViewLast
    """the newest task"""
    paused_at: int
    pause_reason: str


class _SchedulesAnswer(TypedDict):
    schedules: list[ScheduleView]


class SchedulesAnswer(_SchedulesAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page; absent on the last page"""


class _Ack(TypedDict):
    task_id: str
    """a task_id as /submit returned it"""


class Ack(_Ack, total=False):
    status: Literal["done", "failed", "released"]
    """done, failed or released (default done)"""
    lease: str
    """the lease of the task as the broker sent it"""
    result: Any
    """any JSON, with done"""
    error: str
    """only with `status` failed or released: the error message; the first 8,192 characters are kept"""
    retry: bool
    """only with `status` failed: false makes the task dead at once"""
    hold_group_ms: int
    """only with `status` failed or released: how long no task of the same group is leased, in ms, for example because a service has limited the tenant"""
    retry_in_ms: int
    """only with `status` failed or released: the delay before the next attempt, in ms (default: the backoff; with released: none)"""


class _Extend(TypedDict):
    task_id: str
    """a task_id as /submit returned it"""
    lease: str
    """the lease of the task as the broker sent it"""


class Extend(_Extend, total=False):
    timeout_ms: int
    """how long the lease lasts from now, in ms (default: the task's `timeout_ms`)"""
    progress: Any
    """any JSON of at most 1,024 bytes, shown by /status"""
    checkpoint: Any
    """any JSON of at most 16,384 bytes; the next attempt gets it as task.checkpoint"""
    log: list[str]
    """log lines; the newest 20 are kept"""


class Extended(TypedDict):
    status: Literal["ok", "cancelled"]
    """cancelled: stop working on the task, and ack it"""
    task_id: str
    lease_expires_at: int


class _LeaseAnswer(TypedDict):
    tasks: list[LeasedTask]


class LeaseAnswer(_LeaseAnswer, total=False):
    drain: Literal[True]
    """finish the tasks you have and stop polling"""


class LeaseRequest(TypedDict, total=False):
    queues: list[str]
    """queue names, tried in this order"""
    max: int
    """how many tasks at most (default 1)"""
    wait_ms: int
    """how long to wait for a task, in ms"""
    worker: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    instance: str
    """1 to 32 characters from A-Z a-z 0-9 . _ -, different for each run of the worker: a drain of a previous run does not apply to it"""
    host: str
    """the worker's machine: 1 to 64 characters from A-Z a-z 0-9 . _ -"""
    version: str
    """the worker's version: 1 to 32 characters from A-Z a-z 0-9 . _ + -"""
    concurrency: int
    """the maximum number of tasks that the worker runs at the same time; GET /workers shows it"""


class _LeasedTask(TypedDict):
    id: str
    type: str
    payload: Any
    retries: int
    """failures so far"""
    max_retries: int
    status: Literal["processing"]
    queue: str
    attempt: int
    """increases with each lease: usable as a fencing token"""
    lease: str
    """send it with ack and extend"""
    timeout_ms: int
    lease_expires_at: int


class LeasedTask(_LeasedTask, total=False):
    releases: int
    """how often the task was released; absent: never"""
    max_runtime_ms: int
    group: str
    checkpoint: Any
    """the checkpoint that a previous attempt stored with /extend"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters"""
    traceparent: str
    tracestate: str
    schedule: str
    """the schedule that created the task"""
    planned_at: int
    """the time for which the schedule created it"""
    again_of: str
    """the ended task that this one was copied from, with /tasks/:id/again"""
    redact: Literal[True]
    """only workers and operators may see its contents"""


class _Settled(TypedDict):
    status: Literal["acknowledged", "requeued", "moved_to_dlq", "released", "cancelled"]
    task_id: str


class Settled(_Settled, total=False):
    retries: int


class Work(TypedDict, total=False):
    worker: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    instance: str
    """1 to 32 characters from A-Z a-z 0-9 . _ -, different for each run of the worker: a drain of a previous run does not apply to it"""
    host: str
    """the worker's machine: 1 to 64 characters from A-Z a-z 0-9 . _ -"""
    version: str
    """the worker's version: 1 to 32 characters from A-Z a-z 0-9 . _ + -"""
    concurrency: int
    """the maximum number of tasks that the worker runs at the same time; GET /workers shows it"""
    settle: list[Ack]
    """at most 1,000 acks"""
    extend: list[Extend]
    """at most 1,000 extends"""
    queues: list[str]
    """queue names, tried in this order"""
    max: int
    """how many tasks at most (default 0: none)"""
    wait_ms: int
    """how long to wait for a task, in ms"""


class WorkAnswer(TypedDict):
    tasks: list[LeasedTask]
    settled: list[Settled | Problem]
    """per item of settle: the answer of /ack"""
    extended: list[Extended | Problem]
    """per item of extend: the answer of /extend"""
    lost: list[str]
    cancelled: list[str]
    drain: bool
    """true: finish the tasks you have and stop polling"""


class _Attempt(TypedDict):
    attempt: int
    started_at: int
    outcome: str
    """done, failed, crashed, timed_out, released, cancelled or processing"""


class Attempt(_Attempt, total=False):
    worker: str
    ended_at: int
    error: str


class _TaskViewBackoff(TypedDict):
    kind: Literal["fixed", "exponential"]
    delay_ms: int
    """the delay before the first retry, in ms"""


class TaskViewBackoff(_TaskViewBackoff, total=False):
    max_ms: int
    """the longest delay, in ms (default: 30 days)"""
    jitter: bool
    """true (the default): a random time between 0 and the delay, so that retries spread out"""


class _TaskView(TypedDict):
    id: str
    type: str
    payload: Any
    retries: int
    """failures so far"""
    max_retries: int
    status: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"]
    """retrying: the task has failed and waits to run again, at once or after a delay. A retrying task that is ready is still listed by /tasks under `state=queued` and counted by /queues as queued"""
    queue: str
    priority: int
    attempt: int
    crashes: int
    """leases that lapsed"""
    max_crashes: int
    releases: int
    """how often the task was released"""
    timeout_ms: int
    created_at: int


class TaskView(_TaskView, total=False):
    started_at: int
    """when the newest attempt started"""
    finished_at: int
    due_at: int
    """when a scheduled or retrying task is ready"""
    lease_expires_at: int
    worker: str
    """the worker that has or had the task"""
    max_runtime_ms: int
    expires_at: int
    result_ttl_ms: int
    backoff: TaskViewBackoff
    """how long to wait before the next attempt"""
    unique_key: str
    group: str
    cancel_requested_at: int
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters"""
    traceparent: str
    tracestate: str
    schedule: str
    """the schedule that created the task"""
    planned_at: int
    """the time for which the schedule created it"""
    again_of: str
    """the ended task that this one was copied from, with /tasks/:id/again"""
    redact: Literal[True]
    """only workers and operators may see its contents"""
    hidden: Literal[True]
    """the token may not see the contents: payload, result, errors, progress, checkpoint and log lines are left out"""
    progress: Any
    checkpoint: Any
    log: list[str]
    log_at: list[int]
    """when the broker received each line of `log`; shorter if the first lines were stored by an earlier version"""
    attempts: list[Attempt]
    """the newest last; at most 11"""
    result: Any
    error: str
    """the error of the newest failure, or of a release with an error"""
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    """why the task is dead"""


class _TasksAnswer(TypedDict):
    tasks: list[TaskView]


class TasksAnswer(_TasksAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page, even if this page is empty"""


class _WhyAnswer(TypedDict):
    task_id: str
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"]
    why: str
    """one sentence for people"""
    cause: Literal["ended", "delayed", "backing_off", "running", "cancelling", "waiting", "paused", "limited", "no_workers", "group_limited", "group_rate", "group_order", "group_paused", "group_held"]
    """for programs"""


class WhyAnswer(_WhyAnswer, total=False):
    ahead: int
    """how many ready tasks are leased before this one"""
    position_at_least: bool
    """`ahead` is a lower bound"""
    due_at: int
    worker: str
    started_at: int
    lease_expires_at: int
    polled_at: int
    """when a worker last polled this queue"""
    paused_at: int
    """when its queue was paused"""
    pause_reason: str
    group: str
    blocked_by: list[str]
    """up to ten tasks that have the slots of its group"""
    held_until_at: int
    """when the next task of its group can be leased"""
    schedule: str
    """the schedule that created the task"""
    planned_at: int
    """the time for which the schedule created it"""


class _DeadGroupSample(TypedDict):
    task_id: str


class DeadGroupSample(_DeadGroupSample, total=False):
    error: str


class DeadGroup(TypedDict):
    fingerprint: str
    """identifies the group; usable as a filter"""
    type: str
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    error: str
    """the error, with <n>, <hex>, <uuid> and <text> in place of numbers, hex, UUIDs and quoted text"""
    count: int
    first_at: int
    """when the first of them died"""
    last_at: int
    """when the last of them died"""
    sample: DeadGroupSample
    """the newest task of the group"""


class DeletedTask(TypedDict):
    status: Literal["deleted_from_dlq"]
    task_id: str


class _DlqAnswer(TypedDict):
    dlq_size: int
    """all dead tasks, not only those on this page"""
    tasks: list[TaskView]


class DlqAnswer(_DlqAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page; absent on the last page"""


class _DlqGroupsAnswer(TypedDict):
    groups: list[DeadGroup]
    """the largest first; across pages, add up groups with the same fingerprint"""


class DlqGroupsAnswer(_DlqGroupsAnswer, total=False):
    next: str
    """more tasks may match, even if none matched in this call: repeat it with this as `cursor` and the same filter"""


class DlqPurge(TypedDict, total=False):
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    type: str
    """the type of the tasks"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; the group of the tasks"""
    error: str
    """text that the error contains"""
    queue_part: str
    """1 to 64 characters that the name of the queue contains, ignoring case"""
    type_part: str
    """a text that the type contains, ignoring case"""
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    """why the tasks are dead"""
    fingerprint: str
    """the fingerprint of a group from /dlq/groups"""
    older_than_ms: int
    """only tasks that have been dead for longer than this, in ms, by the clock of Redis"""
    newer_than_ms: int
    """only tasks that have been dead for less than this, in ms, by the clock of Redis"""
    limit: int
    """how many at most (default 100)"""
    cursor: str
    """the `next` of the previous answer"""
    dry_run: bool
    """true: change nothing, only count (default false)"""


class _DlqPurged(TypedDict):
    purged: int
    """how many tasks were deleted; with dry_run, how many would be"""


class DlqPurged(_DlqPurged, total=False):
    next: str
    """more tasks may match, even if none matched in this call: repeat it with this as `cursor` and the same filter"""


class _RetriedManyCanary(TypedDict):
    task_id: str


class RetriedManyCanary(_RetriedManyCanary, total=False):
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"]
    """absent: the task was deleted"""


class _RetriedMany(TypedDict):
    requeued: int
    """how many tasks were retried; with dry_run, how many would be"""
    skipped: int
    """how many were skipped: another task holds their unique key, or they were no longer dead"""


class RetriedMany(_RetriedMany, total=False):
    canary: RetriedManyCanary
    """the task that was retried first; the others were retried only if it is done"""
    next: str
    """more tasks may match, even if none matched in this call: repeat it with this as `cursor` and the same filter"""


class RetriedTask(TypedDict):
    status: Literal["requeued_from_dlq"]
    task_id: str


class RetryMany(TypedDict, total=False):
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    type: str
    """the type of the tasks"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; the group of the tasks"""
    error: str
    """text that the error contains"""
    queue_part: str
    """1 to 64 characters that the name of the queue contains, ignoring case"""
    type_part: str
    """a text that the type contains, ignoring case"""
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    """why the tasks are dead"""
    fingerprint: str
    """the fingerprint of a group from /dlq/groups"""
    older_than_ms: int
    """only tasks that have been dead for longer than this, in ms, by the clock of Redis"""
    newer_than_ms: int
    """only tasks that have been dead for less than this, in ms, by the clock of Redis"""
    limit: int
    """how many at most (default 100)"""
    cursor: str
    """the `next` of the previous answer"""
    dry_run: bool
    """true: change nothing, only count (default false)"""
    patch: Any
    """a JSON merge patch (RFC 7396) for each payload, of at most 16,384 bytes and 20 levels"""
    canary: bool
    """true: retry one task first, and the others only if it is done within `wait_ms`"""
    wait_ms: int
    """with canary: how long to wait for the end of the first task, in ms"""
    rate: int
    """tasks per second; the call then runs for at most 10 s (default: all at once)"""


class RetryTask(TypedDict, total=False):
    payload: Any
    """any JSON: the new payload; absent: the payload stays unchanged"""


class BulkAnswer(TypedDict):
    operations: list[BulkView]
    """the newest first"""


class BulkCountFilter(TypedDict, total=False):
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    type: str
    """the type of the tasks"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; the group of the tasks"""
    error: str
    """text that the error contains"""
    queue_part: str
    """1 to 64 characters that the name of the queue contains, ignoring case"""
    type_part: str
    """a text that the type contains, ignoring case"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters; labels that the task must have"""
    older_than_ms: int
    """only tasks that ended longer ago than this, in ms; for tasks that have not ended, the time of their submit counts"""
    newer_than_ms: int
    """only tasks that ended less than this ago, in ms; for tasks that have not ended, the time of their submit counts"""
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    """why the tasks are dead"""
    fingerprint: str
    """the fingerprint of a group from /dlq/groups"""
    id_part: str
    """1 to 64 characters that the id without its queue contains, ignoring case"""
    text: str
    """a text that the payload or the error contains, ignoring case; requires `queue`"""
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled", "waiting", "delayed", "any", "ended"]
    """the state of the tasks (default: waiting with cancel, delayed with start_now, done with submit_again, otherwise dead); ended: done, dead or cancelled"""


class _BulkCount(TypedDict):
    action: Literal["retry", "purge", "cancel", "start_now", "submit_again"]
    """retry dead tasks, purge (delete) tasks, cancel tasks that have not ended, start_now delayed tasks, or submit_again tasks like those that have ended"""
    filter: BulkCountFilter
    """as for /bulk, without `task_ids`"""


class BulkCount(_BulkCount, total=False):
    cursor: str
    """the `next` of the previous answer"""


class _BulkCounted(TypedDict):
    matching: int
    """how many of the tasks that this call has looked at match"""


class BulkCounted(_BulkCounted, total=False):
    next: str
    """more tasks may match, even if none matched in this call: repeat it with this as `cursor` and the same filter"""


class BulkRequestFilter(TypedDict, total=False):
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    type: str
    """the type of the tasks"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; the group of the tasks"""
    error: str
    """text that the error contains"""
    queue_part: str
    """1 to 64 characters that the name of the queue contains, ignoring case"""
    type_part: str
    """a text that the type contains, ignoring case"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters; labels that the task must have"""
    older_than_ms: int
    """only tasks that ended longer ago than this, in ms; for tasks that have not ended, the time of their submit counts"""
    newer_than_ms: int
    """only tasks that ended less than this ago, in ms; for tasks that have not ended, the time of their submit counts"""
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    """why the tasks are dead"""
    fingerprint: str
    """the fingerprint of a group from /dlq/groups"""
    id_part: str
    """1 to 64 characters that the id without its queue contains, ignoring case"""
    text: str
    """a text that the payload or the error contains, ignoring case; requires `queue`"""
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled", "waiting", "delayed", "any", "ended"]
    """the state of the tasks (default: waiting with cancel, delayed with start_now, done with submit_again, otherwise dead); ended: done, dead or cancelled"""
    task_ids: list[str]
    """exactly these tasks; cannot be combined with other members, except that purge and submit_again also take `state`"""


class _BulkRequest(TypedDict):
    action: Literal["retry", "purge", "cancel", "start_now", "submit_again"]
    """retry dead tasks, purge (delete) tasks, cancel tasks that have not ended, start_now delayed tasks, or submit_again tasks like those that have ended"""
    filter: BulkRequestFilter
    """all members that are given must match; {} matches all tasks in the action's default state"""


class BulkRequest(_BulkRequest, total=False):
    limit: int
    """change at most this many tasks (default: all)"""
    rate: int
    """tasks per second (default: no limit)"""
    patch: Any
    """with retry: a JSON merge patch (RFC 7396) for each payload, of at most 16,384 bytes and 20 levels"""
    canary: bool
    """with retry: retry one task first, and the others only when it is done (default false)"""
    reason: str
    """why, for people; the list shows it"""


class BulkStopped(TypedDict):
    status: Literal["stopping", "ended"]
    """stopping: it ends after the page in hand; ended: it had ended already"""
    bulk_id: str


class BulkViewFilter(TypedDict, total=False):
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    type: str
    """the type of the tasks"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; the group of the tasks"""
    error: str
    """text that the error contains"""
    queue_part: str
    """1 to 64 characters that the name of the queue contains, ignoring case"""
    type_part: str
    """a text that the type contains, ignoring case"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters; labels that the task must have"""
    older_than_ms: int
    """only tasks that ended longer ago than this, in ms; for tasks that have not ended, the time of their submit counts"""
    newer_than_ms: int
    """only tasks that ended less than this ago, in ms; for tasks that have not ended, the time of their submit counts"""
    reason: Literal["failed", "crashed", "timed_out", "expired", "released"]
    """why the tasks are dead"""
    fingerprint: str
    """the fingerprint of a group from /dlq/groups"""
    id_part: str
    """1 to 64 characters that the id without its queue contains, ignoring case"""
    text: str
    """a text that the payload or the error contains, ignoring case; requires `queue`"""
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled", "waiting", "delayed", "any", "ended"]
    """the state of the tasks (default: waiting with cancel, delayed with start_now, done with submit_again, otherwise dead); ended: done, dead or cancelled"""


class BulkViewProgress(TypedDict):
    total: int
    """how many tasks were in that state when it started, whether they match or not"""
    seen: int
    """how many tasks it has looked at; a cancel may look at them again"""
    done: int
    """how many tasks it has changed"""
    skipped: int
    """how many matched, but could not be changed: for example their unique key was taken"""


class _BulkViewCanary(TypedDict):
    task_id: str


class BulkViewCanary(_BulkViewCanary, total=False):
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"]
    """absent: it was deleted"""


class BulkViewOutcome(TypedDict):
    succeeded: int
    died_again: int
    other: int
    """cancelled, or deleted before the outcome was seen"""
    still_going: int
    """have not ended yet"""


class _BulkView(TypedDict):
    bulk_id: str
    action: Literal["retry", "purge", "cancel", "start_now", "submit_again"]
    """retry dead tasks, purge (delete) tasks, cancel tasks that have not ended, start_now delayed tasks, or submit_again tasks like those that have ended"""
    filter: BulkViewFilter
    """as requested, without `task_ids`"""
    author: str
    """the name of the token that started it"""
    started_at: int
    state: Literal["running", "waiting_for_canary", "finished", "stopped", "failed"]
    """waiting_for_canary: the first task has not ended; stopped: by a request or because the canary was not done; failed: by a fault"""
    progress: BulkViewProgress
    """stored after each page"""


class BulkView(_BulkView, total=False):
    selected: int
    """how many tasks `task_ids` named"""
    limit: int
    rate: int
    patch: Any
    reason: str
    """as requested"""
    ended_at: int
    stopped_by: str
    """the name of the token that asked to stop it"""
    cause: str
    """why it was stopped or failed, for people"""
    canary: BulkViewCanary
    """the task that was retried first"""
    outcome: BulkViewOutcome
    """with retry: what became of the retried tasks; a few seconds late"""


class CancelMany(TypedDict, total=False):
    queue: str
    """1 to 64 characters from A-Z a-z 0-9 . _ -, and not \".\" or \"..\""""
    type: str
    """the type of the tasks"""
    group: str
    """1 to 128 characters, none of them a control character, and not \".\" or \"..\"; the group of the tasks"""
    error: str
    """text that the error contains"""
    queue_part: str
    """1 to 64 characters that the name of the queue contains, ignoring case"""
    type_part: str
    """a text that the type contains, ignoring case"""
    meta: dict[str, str]
    """up to 16 labels: names of 1 to 32 characters from A-Z a-z 0-9 . _ -, values up to 128 characters; labels that the task must have"""
    older_than_ms: int
    """only tasks that ended longer ago than this, in ms; for tasks that have not ended, the time of their submit counts"""
    newer_than_ms: int
    """only tasks that ended less than this ago, in ms; for tasks that have not ended, the time of their submit counts"""
    state: Literal["waiting", "queued", "delayed", "scheduled", "retrying", "processing", "any"]
    """the state of the tasks (default waiting: scheduled, queued or retrying); delayed: scheduled or retrying; any: waiting or processing"""
    limit: int
    """how many at most (default 100)"""
    cursor: str
    """the `next` of the previous answer"""
    dry_run: bool
    """true: change nothing, only count (default false)"""


class _CancelledMany(TypedDict):
    cancelled: int
    """how many waiting tasks are cancelled now; with dry_run, how many would be"""
    cancelling: int
    """how many running tasks end as cancelled when their attempt ends; with dry_run, how many would"""
    skipped: int
    """how many had already ended and were not cancelled"""


class CancelledMany(_CancelledMany, total=False):
    next: str
    """more tasks may match, even if none matched in this call: repeat it with this as `cursor` and the same filter"""


class _Attention(TypedDict):
    kind: Literal["no_workers", "waiting", "schedule_late", "lapsing", "failing", "growing", "dead", "paused"]
    """no_workers: tasks wait and no worker polls; waiting: the oldest waits too long; schedule_late: a run is late or finds no room; lapsing: leases lapse; failing: attempts fail; growing: the backlog grows; dead: tasks died in the last 24 hours; paused: for too long"""
    threshold: float
    """of the queue's `settings.attention`, or the default"""
    why: str
    """one sentence for people"""


class Attention(_Attention, total=False):
    since_at: int
    """since when; absent if it is not known"""
    value: float
    """the measured value, which exceeds the threshold; absent if no worker has ever polled"""


class _Drained(TypedDict):
    status: Literal["draining", "drain_ended"]
    worker: str


class Drained(_Drained, total=False):
    draining_since: int
    """since when the worker has been draining"""


class Pause(TypedDict, total=False):
    reason: str
    """the reason, for people; /why shows it"""


class _Paused(TypedDict):
    status: Literal["paused", "resumed"]
    queue: str


class Paused(_Paused, total=False):
    paused_at: int
    """since when the queue has been paused"""


class _Purge(TypedDict):
    state: Literal["queued", "delayed", "done", "dead", "cancelled"]
    """the state of the tasks, as `depth` of the queue names it"""


class Purge(_Purge, total=False):
    limit: int
    """how many at most (default 1000)"""
    dry_run: bool
    """true: change nothing, only count (default false)"""


class Purged(TypedDict):
    purged: int
    """how many tasks were deleted; with dry_run, how many would be"""
    remaining: int
    """how many tasks remain in this state"""


class QueueViewDepth(TypedDict):
    queued: int
    """ready for a worker; also counts ids of cancelled tasks until a lease removes them"""
    delayed: int
    """scheduled and retrying"""
    processing: int
    done: int
    dead: int
    cancelled: int
    open: int
    """queued, processing, or due within a minute: a number to scale workers by"""


class QueueViewDelayed(TypedDict):
    scheduled: int
    retrying: int


class QueueViewWorkers(TypedDict):
    count: int
    names: list[str]
    """the first 20 by name"""


class _QueueView(TypedDict):
    queue: str
    depth: QueueViewDepth
    """how many tasks are in each state"""
    queued_by_priority: dict[str, int]
    """queued tasks per priority, without the priorities that have none"""
    paused: bool
    """true: the queue accepts submits and hands out no tasks"""
    settings: QueueSettings
    workers: QueueViewWorkers
    """named workers that polled the queue in the last minute"""
    rates: Rates
    attention: list[Attention]
    """what is wrong with the queue, the worst first"""
    recent: Recent


class QueueView(_QueueView, total=False):
    delayed: QueueViewDelayed
    """how many of the delayed tasks are scheduled, and how many wait for a retry; only in the answer for one queue, and absent if more than 1,000 tasks are delayed"""
    oldest_waiting_ms: int
    """how long the next task has waited since its submit or its newest attempt; the longest over all priorities"""
    polled_at: int
    """when a worker last polled this queue"""
    paused_at: int
    pause_reason: str


class QueuesAnswerTotalsDepth(TypedDict):
    queued: int
    """ready for a worker; also counts ids of cancelled tasks until a lease removes them"""
    delayed: int
    """scheduled and retrying"""
    processing: int
    done: int
    dead: int
    cancelled: int
    open: int
    """queued, processing, or due within a minute: a number to scale workers by"""


class _QueuesAnswerTotals(TypedDict):
    queues: int
    paused: int
    """how many are paused"""
    attention: int
    """how many need attention"""
    depth: QueuesAnswerTotalsDepth
    """how many tasks are in each state"""
    rates: Rates


class QueuesAnswerTotals(_QueuesAnswerTotals, total=False):
    oldest_waiting_ms: int
    oldest_queue: str
    """the queue of the task that waits longest"""


class QueuesAnswerWorst(TypedDict):
    queue: str
    attention: list[Attention]


class _QueuesAnswer(TypedDict):
    queues: list[QueueView]


class QueuesAnswer(_QueuesAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page; absent on the last page"""
    totals: QueuesAnswerTotals
    """all queues that the token may see together; only with `order`"""
    worst: list[QueuesAnswerWorst]
    """up to 20 queues that need attention, the worst first; only with `order`"""


class Rates(TypedDict):
    submitted: float
    leased: float
    done: float
    failed: float
    released: float
    lapsed: float
    dead: float


class _WorkerView(TypedDict):
    worker: str
    state: Literal["live", "draining", "stale", "gone"]
    """live: seen in the last minute; draining: live, and being drained; stale: not seen for a minute, but holds tasks; gone: not seen for a minute and holds none"""
    queues: list[str]
    """the queues that it polled: the newest 32"""
    first_seen_at: int
    last_seen_at: int
    """the time of its newest request, a few seconds late"""
    in_hand: int
    """live leases under its name; only the first 10,000 of each queue are counted"""
    tasks: list[str]
    """at most ten of these tasks"""
    done: int
    """since it was first seen"""
    failed: int
    """since it was first seen"""
    per_minute: int
    """acks that it sent in the last minute, a few seconds late"""


class WorkerView(_WorkerView, total=False):
    instance: str
    """identifies this run of the worker; absent if the worker does not send it"""
    host: str
    version: str
    concurrency: int
    """the maximum number of tasks that it runs at the same time; absent if the worker does not send it"""
    draining_since: int


class _WorkersAnswer(TypedDict):
    workers: list[WorkerView]


class WorkersAnswer(_WorkersAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page; absent on the last page"""


class AttentionSettings(TypedDict, total=False):
    idle_poll_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 60000), or \"off\": tasks wait, and no worker has polled for this long"""
    oldest_wait_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 300000), or \"off\": a task has waited for longer than this"""
    schedule_late_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 60000), or \"off\": a run of a schedule is later than this, or runs have found no room for this long"""
    lapses: int | Literal["off"]
    """a whole number from 1 to 1000000 (default 1), or \"off\": this many leases lapsed in ten minutes"""
    failure_percent: int | Literal["off"]
    """a whole number from 1 to 100 (default 10), or \"off\": more than this percentage of the attempts in ten minutes failed"""
    growth: int | Literal["off"]
    """a whole number from 1 to 10000000 (default 100), or \"off\": this many more tasks are queued than ten minutes ago"""
    dead: int | Literal["off"]
    """a whole number from 1 to 10000000 (default 1), or \"off\": this many tasks died in 24 hours"""
    paused_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 3600000), or \"off\": the queue has been paused for this long"""


class GroupLimitsRate(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class GroupLimitsRate1(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class GroupLimits(TypedDict, total=False):
    concurrency: int
    """how many tasks of a group may be leased at a time"""
    rate: GroupLimitsRate | list[GroupLimitsRate1]
    """{limit, per_ms, burst}, {per_second, burst}, or a list of 1 to 5 of these, which all apply"""
    order: Literal["strict", "any"]
    """strict: a task starts only when the one before it in its group has ended, whatever retries that takes (default any)"""
    on_dead: Literal["skip", "block"]
    """in strict order, if a task is dead: go on with the next one (skip, the default), or wait until it is retried or deleted (block)"""
    max_waiting: int
    """how many ready tasks of a group may wait before submits get 429"""


class _QueueSettingsDefaultsBackoff(TypedDict):
    kind: Literal["fixed", "exponential"]
    delay_ms: int
    """the delay before the first retry, in ms"""


class QueueSettingsDefaultsBackoff(_QueueSettingsDefaultsBackoff, total=False):
    max_ms: int
    """the longest delay, in ms (default: 30 days)"""
    jitter: bool
    """true (the default): a random time between 0 and the delay, so that retries spread out"""


class QueueSettingsDefaults(TypedDict, total=False):
    priority: int
    """9 is leased first (default 5)"""
    max_retries: int
    """failures allowed before the task is dead (default: the broker's MAX_RETRIES)"""
    max_crashes: int
    """lapsed leases allowed before the task is dead (default: the broker's MAX_CRASHES)"""
    timeout_ms: int
    """how long a lease lasts, in ms (default: the broker's VISIBILITY_TIMEOUT_MS)"""
    max_runtime_ms: int
    """the maximum duration of an attempt, in ms, however often its lease is extended"""
    backoff: QueueSettingsDefaultsBackoff
    """how long to wait before the next attempt"""
    result_ttl_ms: int
    """how long the task is kept after it is done, in ms"""


class QueueSettingsRate(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class QueueSettingsRate1(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class QueueSettingsGroupsRate(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class QueueSettingsGroupsRate1(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class QueueSettingsGroups(TypedDict, total=False):
    concurrency: int
    """how many tasks of a group may be leased at a time"""
    rate: QueueSettingsGroupsRate | list[QueueSettingsGroupsRate1]
    """{limit, per_ms, burst}, {per_second, burst}, or a list of 1 to 5 of these, which all apply"""
    order: Literal["strict", "any"]
    """strict: a task starts only when the one before it in its group has ended, whatever retries that takes (default any)"""
    on_dead: Literal["skip", "block"]
    """in strict order, if a task is dead: go on with the next one (skip, the default), or wait until it is retried or deleted (block)"""
    max_waiting: int
    """how many ready tasks of a group may wait before submits get 429"""


class QueueSettingsAttention(TypedDict, total=False):
    idle_poll_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 60000), or \"off\": tasks wait, and no worker has polled for this long"""
    oldest_wait_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 300000), or \"off\": a task has waited for longer than this"""
    schedule_late_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 60000), or \"off\": a run of a schedule is later than this, or runs have found no room for this long"""
    lapses: int | Literal["off"]
    """a whole number from 1 to 1000000 (default 1), or \"off\": this many leases lapsed in ten minutes"""
    failure_percent: int | Literal["off"]
    """a whole number from 1 to 100 (default 10), or \"off\": more than this percentage of the attempts in ten minutes failed"""
    growth: int | Literal["off"]
    """a whole number from 1 to 10000000 (default 100), or \"off\": this many more tasks are queued than ten minutes ago"""
    dead: int | Literal["off"]
    """a whole number from 1 to 10000000 (default 1), or \"off\": this many tasks died in 24 hours"""
    paused_ms: int | Literal["off"]
    """a whole number from 1 to 2678400000 (default 3600000), or \"off\": the queue has been paused for this long"""


class QueueSettings(TypedDict, total=False):
    defaults: QueueSettingsDefaults
    """values for tasks whose submit omits them; they take precedence over the broker's defaults"""
    concurrency: int
    """how many tasks may be leased at a time"""
    rate: QueueSettingsRate | list[QueueSettingsRate1]
    """{limit, per_ms, burst}, {per_second, burst}, or a list of 1 to 5 of these, which all apply"""
    groups: QueueSettingsGroups
    """the limits of every group, unless it has its own"""
    attention: QueueSettingsAttention
    """thresholds of `attention` in the view of the queue; an omitted threshold has its default"""


class _GroupViewHeld(TypedDict):
    cause: Literal["concurrency", "rate", "order", "paused", "asked"]
    """concurrency, rate: at this limit; order: an earlier task has not ended; paused: an operator paused the group; asked: a worker asked to hold it"""


class GroupViewHeld(_GroupViewHeld, total=False):
    task_ids: list[str]
    """up to ten tasks that have the slots of the group"""
    until_at: int
    """when the next task can be leased; absent if that depends on an event, such as an ack"""


class GroupViewLimitsRate(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class GroupViewLimitsRate1(TypedDict, total=False):
    per_second: int
    """tasks handed out per second"""
    limit: int
    """tasks handed out per `per_ms`"""
    per_ms: int
    """the length of the period, in ms"""
    burst: int
    """how many at once after a quiet period (default: the limit)"""


class GroupViewLimits(TypedDict, total=False):
    concurrency: int
    """how many tasks of a group may be leased at a time"""
    rate: GroupViewLimitsRate | list[GroupViewLimitsRate1]
    """{limit, per_ms, burst}, {per_second, burst}, or a list of 1 to 5 of these, which all apply"""
    order: Literal["strict", "any"]
    """strict: a task starts only when the one before it in its group has ended, whatever retries that takes (default any)"""
    on_dead: Literal["skip", "block"]
    """in strict order, if a task is dead: go on with the next one (skip, the default), or wait until it is retried or deleted (block)"""
    max_waiting: int
    """how many ready tasks of a group may wait before submits get 429"""


class _GroupView(TypedDict):
    queue: str
    group: str
    waiting: int
    """ready tasks; also counts ids of cancelled tasks until a lease removes them"""
    processing: int
    """tasks that have a slot of the group: leased ones, and in strict order one that waits for its retry"""


class GroupView(_GroupView, total=False):
    oldest_waiting_ms: int
    """how long the next task has waited since its submit or its newest attempt"""
    held: GroupViewHeld
    """why no task of the group is leased now"""
    paused_at: int
    pause_reason: str
    limits: GroupViewLimits
    """the limits of the group that differ from the settings of its queue"""


class _GroupsAnswer(TypedDict):
    groups: list[GroupView]


class GroupsAnswer(_GroupsAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page; absent on the last page"""


class _AddMark(TypedDict):
    text: str
    """what happened, such as `deploy v1.2`"""


class AddMark(_AddMark, total=False):
    at: int
    """when, in ms since 1970, between 30 days ago and one minute from now (default: now)"""


class DepthCounts(TypedDict):
    queued: int
    delayed: int
    processing: int


class HistoryAnswerOtherWaitMs(TypedDict):
    p50: int
    p95: int
    p99: int


class HistoryAnswerOtherRunMs(TypedDict):
    p50: int
    p95: int
    p99: int


class _HistoryAnswerOther(TypedDict):
    submitted: int
    done: int
    failed: int
    """attempts whose worker reported a failure"""
    lapsed: int
    """leases that lapsed"""
    dead: int
    """tasks that died"""


class HistoryAnswerOther(_HistoryAnswerOther, total=False):
    wait_ms: HistoryAnswerOtherWaitMs
    """times from a submit to the first lease, including a delay; absent if there was none"""
    run_ms: HistoryAnswerOtherRunMs
    """times from a lease to its ack; absent if there was none"""


class _HistoryAnswer(TypedDict):
    from_at: int
    """the start of the first step"""
    to_at: int
    """the end of the last step, or now"""
    step_ms: int
    points: list[HistoryPoint]
    """without the steps in which no broker ran"""
    total: HistoryTotal
    marks: list[Mark]
    """the newest 100 marks of this time, the oldest first"""


class HistoryAnswer(_HistoryAnswer, total=False):
    types: list[TypeTotal]
    """the 100 busiest types, the busiest first"""
    other: HistoryAnswerOther
    """all other types of the queue together; absent if there is none"""


class HistoryPointWaitMs(TypedDict):
    p50: int
    p95: int
    p99: int


class HistoryPointRunMs(TypedDict):
    p50: int
    p95: int
    p99: int


class HistoryPointDepth(TypedDict):
    queued: int
    delayed: int
    processing: int


class _HistoryPoint(TypedDict):
    at: int
    """when the step begins"""
    recorded_ms: int
    """for how many ms of the step a broker ran"""
    submitted: int
    done: int
    failed: int
    """attempts whose worker reported a failure"""
    lapsed: int
    """leases that lapsed"""
    dead: int
    """tasks that died"""


class HistoryPoint(_HistoryPoint, total=False):
    wait_ms: HistoryPointWaitMs
    """times from a submit to the first lease, including a delay; absent if there was none"""
    run_ms: HistoryPointRunMs
    """times from a lease to its ack; absent if there was none"""
    depth: HistoryPointDepth
    """the largest number of tasks in the step; absent for a type, and if it is unknown"""


class HistoryTotalWaitMs(TypedDict):
    p50: int
    p95: int
    p99: int


class HistoryTotalRunMs(TypedDict):
    p50: int
    p95: int
    p99: int


class _HistoryTotal(TypedDict):
    submitted: int
    done: int
    failed: int
    """attempts whose worker reported a failure"""
    lapsed: int
    """leases that lapsed"""
    dead: int
    """tasks that died"""


class HistoryTotal(_HistoryTotal, total=False):
    wait_ms: HistoryTotalWaitMs
    """times from a submit to the first lease, including a delay; absent if there was none"""
    run_ms: HistoryTotalRunMs
    """times from a lease to its ack; absent if there was none"""


class Mark(TypedDict):
    at: int
    text: str
    by: str
    """the name of the token that added it"""


class RecentWaitMs(TypedDict):
    p50: int
    p95: int
    p99: int


class RecentRunMs(TypedDict):
    p50: int
    p95: int
    p99: int


class RecentDepthBefore(TypedDict):
    queued: int
    delayed: int
    processing: int


class _Recent(TypedDict):
    submitted_per_s: float
    done_per_s: float
    failed_per_s: float
    """attempts whose worker reported a failure"""
    lapsed_per_s: float
    """leases that lapsed"""
    dead_per_s: float
    done: int
    """tasks that were done"""
    failed: int
    """attempts whose worker reported a failure"""
    lapsed: int
    """leases that lapsed"""
    dead: int
    """tasks that died"""


class Recent(_Recent, total=False):
    wait_ms: RecentWaitMs
    """times from a submit to the first lease, including a delay; absent if there was none"""
    run_ms: RecentRunMs
    """times from a lease to its ack; absent if there was none"""
    depth_before: RecentDepthBefore
    """how many tasks there were ten minutes ago; absent if no broker ran then"""


class TypeTotalWaitMs(TypedDict):
    p50: int
    p95: int
    p99: int


class TypeTotalRunMs(TypedDict):
    p50: int
    p95: int
    p99: int


class _TypeTotal(TypedDict):
    type: str
    submitted: int
    done: int
    failed: int
    """attempts whose worker reported a failure"""
    lapsed: int
    """leases that lapsed"""
    dead: int
    """tasks that died"""


class TypeTotal(_TypeTotal, total=False):
    wait_ms: TypeTotalWaitMs
    """times from a submit to the first lease, including a delay; absent if there was none"""
    run_ms: TypeTotalRunMs
    """times from a lease to its ack; absent if there was none"""


class Alive(TypedDict):
    status: Literal["ok"]


class AuditAnswerLooked(TypedDict):
    queues: int
    tasks: int
    payloads: int
    """payloads that are stored under a key of their own"""
    unique_keys: int
    entries: int
    """entries of the sorted sets, and schedules"""


class AuditAnswerFound(TypedDict):
    kind: Literal["not_listed", "no_lease", "no_due", "no_index", "no_expiry", "no_owner", "no_payload", "unreadable", "no_plan", "stray_entry", "no_turn", "stray_turn", "no_slot", "stray_slot", "wrong_count", "stray_payload", "stray_key", "wrong_bytes", "not_registered"]
    count: int
    mended: int
    sample: str
    """an example: a task, a unique key, a schedule, a queue, or a priority and a group"""


class AuditAnswer(TypedDict):
    complete: bool
    """false: the time limit was reached before everything was checked"""
    looked: AuditAnswerLooked
    """how many of each were checked; a task that moves during the audit may count twice"""
    found: list[AuditAnswerFound]
    """the inconsistencies by kind; empty if there are none"""


class _Ready(TypedDict):
    status: Literal["ready"]
    redis: str
    """the version of Redis"""
    durability: Literal["none", "no", "unknown", "everysec", "always"]
    """the current `appendfsync` of Redis; none: no append-only file; unknown: Redis does not report it"""
    maxmemory_policy: str
    topology: Literal["single", "sentinel", "cluster"]
    replicas: int
    """connected replicas; in a Cluster: of the master that has the fewest"""
    wait_replicas: int
    """how many replicas must confirm a change before the broker answers"""


class Ready(_Ready, total=False):
    degraded: list[str]
    """what cannot be served now, with the reason: new tasks, or the queues of a node of a Cluster"""


class SessionEnded(TypedDict):
    status: Literal["ended"]


class _SessionView(TypedDict):
    name: str
    """the name of the token"""
    roles: list[Literal["submit", "work", "operate", "read", "watch"]]


class SessionView(_SessionView, total=False):
    queues: list[str]
    """the queues that the token is bound to; absent: all"""
    csrf: str
    """the value for X-CSRF-Token; absent if the request carried a token"""
    expires_at: int
    """by the broker's clock"""
    trace_url: str
    """the broker's TRACE_URL: a link to a trace, with {trace_id} for its id"""


class SignIn(TypedDict):
    token: str
    """a token of this broker"""


class _ActionView(TypedDict):
    id: str
    """the id of this entry"""
    at: int
    """when it was done"""
    by: str
    """the name of the token"""
    action: Literal["cancelTask", "cancelTasks", "changeTask", "submitAgain", "deleteTask", "setSchedule", "deleteSchedule", "pauseSchedule", "resumeSchedule", "runSchedule", "retryDeadTask", "retryDeadTasks", "purgeDeadTasks", "deleteDeadTask", "startBulk", "stopBulk", "pauseQueue", "resumeQueue", "setQueueSettings", "purgeQueue", "setGroupLimits", "removeGroupLimits", "pauseGroup", "resumeGroup", "addMark", "drainWorker", "undrainWorker", "audit"]
    """the operation, by its id in the OpenAPI document"""
    details: dict[str, Any]
    """what was requested and what came of it: a reason, counts, the values before and after"""


class ActionView(_ActionView, total=False):
    queues: list[str]
    """the queues that it concerns; absent if it concerns all queues, or none"""
    task_id: str
    schedule: str
    group: str
    worker: str
    request_id: str
    """the id of the request, as in the log"""


class _ActionsAnswer(TypedDict):
    actions: list[ActionView]


class ActionsAnswer(_ActionsAnswer, total=False):
    next: str
    """pass it as `cursor` to get the next page; absent on the last page"""


class BrokerView(TypedDict):
    broker: str
    """identifies this run of the broker, as in the events `counts`"""
    host: str
    pid: int
    version: str
    started_at: int
    seen_at: int
    """when it last recorded that it is running, which it does every 10 s"""


class BrokersAnswerRedisMemory(TypedDict):
    used_bytes: int
    """0: Redis does not report it"""
    max_bytes: int
    """`maxmemory`; 0: no limit"""


class BrokersAnswer(TypedDict):
    broker: str
    """the broker that answers"""
    brokers: list[BrokerView]
    """all brokers that were seen in the last 30 s"""
    redis_memory: BrokersAnswerRedisMemory
    """the memory of Redis; in a Cluster the sum over its masters"""


class _ProblemErrors(TypedDict):
    detail: str
    """what the member must be"""


class ProblemErrors(_ProblemErrors, total=False):
    field: str
    """the invalid member; absent if the whole body is invalid, or if its name is not 1 to 40 characters from A-Z a-z 0-9 _ -"""


class _Problem(TypedDict):
    error: str
    """the error, for people"""
    code: Literal["unauthorized", "too_many_attempts", "forbidden", "bad_json", "bad_request", "not_found", "method_not_allowed", "task_not_found", "not_in_dlq", "worker_not_found", "schedule_not_found", "bulk_not_found", "lease_lost", "not_leased", "already_ended", "not_waiting", "not_ended", "task_gone", "task_exists", "key_reused", "key_taken", "unsupported_media_type", "too_large", "queue_full", "group_full", "redis_unavailable", "not_replicated", "out_of_memory", "overloaded", "not_ready", "internal"]
    """the error, for programs"""
    status: int
    title: str


class Problem(_Problem, total=False):
    detail: str
    """what is wrong or what to do about it"""
    field: str
    """the invalid member; the first one if there are several"""
    errors: list[ProblemErrors]
    """with bad_request: every invalid member, up to ten"""
    task_id: str
    state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled"]
    attempt: int
    """with lease_lost: the newest attempt"""
    request_id: str
    """with internal: identifies the request in the broker's log"""


class Calls(Transport):
    """Every call of the API."""

    @overload
    def submit_tasks(self, body: Submit, *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> Submitted: ...

    @overload
    def submit_tasks(self, body: list[Submit], *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> list[Submitted | Problem]: ...

    def submit_tasks(self, body: Any, *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> Any:
        """Submit one task or up to 1,000: `POST /submit`."""
        return self.call("POST", "/submit", [("header", "Idempotency-Key", idempotency_key), ("header", "traceparent", traceparent), ("header", "tracestate", tracestate)], body, timeout)

    def cancel_task(self, id: str, *, timeout: float | None = None) -> Cancelled:
        """Cancel a task: `POST /cancel/{id}`."""
        return self.call("POST", "/cancel/{id}", [("path", "id", id)], None, timeout)

    def change_task(self, id: str, body: TaskChange, *, timeout: float | None = None) -> TaskChanged:
        """Change a waiting task, or let it run now: `PATCH /tasks/{id}`."""
        return self.call("PATCH", "/tasks/{id}", [("path", "id", id)], body, timeout)

    def delete_task(self, id: str, *, timeout: float | None = None) -> TaskDeleted:
        """Delete a task that has ended: `DELETE /tasks/{id}`."""
        return self.call("DELETE", "/tasks/{id}", [("path", "id", id)], None, timeout)

    def submit_again(self, id: str, body: Again = {}, *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> SubmittedAgain:
        """Submit a task like one that has ended: `POST /tasks/{id}/again`."""
        return self.call("POST", "/tasks/{id}/again", [("path", "id", id), ("header", "Idempotency-Key", idempotency_key), ("header", "traceparent", traceparent), ("header", "tracestate", tracestate)], body, timeout)

    def set_schedule(self, schedule: str, body: Schedule, *, timeout: float | None = None) -> ScheduleSet:
        """Create or replace a schedule: `PUT /schedules/{schedule}`."""
        return self.call("PUT", "/schedules/{schedule}", [("path", "schedule", schedule)], body, timeout)

    def get_schedule(self, schedule: str, *, timeout: float | None = None) -> ScheduleView:
        """Get a schedule: `GET /schedules/{schedule}`."""
        return self.call("GET", "/schedules/{schedule}", [("path", "schedule", schedule)], None, timeout)

    def delete_schedule(self, schedule: str, *, timeout: float | None = None) -> ScheduleDeleted:
        """Delete a schedule: `DELETE /schedules/{schedule}`."""
        return self.call("DELETE", "/schedules/{schedule}", [("path", "schedule", schedule)], None, timeout)

    def list_schedules(self, *, queue: str | None = None, schedule_part: str | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> SchedulesAnswer:
        """List schedules: `GET /schedules`."""
        return self.call("GET", "/schedules", [("query", "queue", queue), ("query", "schedule_part", schedule_part), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    def pause_schedule(self, schedule: str, body: Pause = {}, *, timeout: float | None = None) -> SchedulePaused:
        """Pause a schedule: `POST /schedules/{schedule}/pause`."""
        return self.call("POST", "/schedules/{schedule}/pause", [("path", "schedule", schedule)], body, timeout)

    def resume_schedule(self, schedule: str, *, timeout: float | None = None) -> SchedulePaused:
        """Resume a paused schedule: `POST /schedules/{schedule}/resume`."""
        return self.call("POST", "/schedules/{schedule}/resume", [("path", "schedule", schedule)], None, timeout)

    def run_schedule(self, schedule: str, *, idempotency_key: str | None = None, timeout: float | None = None) -> ScheduleRun:
        """Create a task of a schedule now: `POST /schedules/{schedule}/run`."""
        return self.call("POST", "/schedules/{schedule}/run", [("path", "schedule", schedule), ("header", "Idempotency-Key", idempotency_key)], None, timeout)

    def preview_schedule(self, body: Preview, *, timeout: float | None = None) -> Previewed:
        """Compute the next times of a cron expression or an interval: `POST /schedules/preview`."""
        return self.call("POST", "/schedules/preview", [], body, timeout)

    def get_task(self, id: str, *, wait_ms: int | None = None, timeout: float | None = None) -> TaskView:
        """Get a task: `GET /status/{id}`."""
        return self.call("GET", "/status/{id}", [("path", "id", id), ("query", "wait_ms", wait_ms)], None, timeout)

    def why_task(self, id: str, *, timeout: float | None = None) -> WhyAnswer:
        """Explain why a task is not running: `GET /why/{id}`."""
        return self.call("GET", "/why/{id}", [("path", "id", id)], None, timeout)

    def lease_one(self, *, queue: list[str] | None = None, wait_ms: int | None = None, worker: str | None = None, timeout: float | None = None) -> LeasedTask | None:
        """Lease one task: `GET /get`."""
        return self.call("GET", "/get", [("query", "queue", queue), ("query", "wait_ms", wait_ms), ("query", "worker", worker)], None, timeout)

    def lease(self, body: LeaseRequest, *, timeout: float | None = None) -> LeaseAnswer:
        """Lease up to 1,000 tasks: `POST /lease`."""
        return self.call("POST", "/lease", [], body, timeout)

    @overload
    def ack(self, body: Ack, *, timeout: float | None = None) -> Settled: ...

    @overload
    def ack(self, body: list[Ack], *, timeout: float | None = None) -> list[Settled | Problem]: ...

    def ack(self, body: Any, *, timeout: float | None = None) -> Any:
        """Report the outcome of one task or up to 1,000: `POST /ack`."""
        return self.call("POST", "/ack", [], body, timeout)

    @overload
    def extend(self, body: Extend, *, timeout: float | None = None) -> Extended: ...

    @overload
    def extend(self, body: list[Extend], *, timeout: float | None = None) -> list[Extended | Problem]: ...

    def extend(self, body: Any, *, timeout: float | None = None) -> Any:
        """Extend one lease or up to 1,000: `POST /extend`."""
        return self.call("POST", "/extend", [], body, timeout)

    def work(self, body: Work, *, timeout: float | None = None) -> WorkAnswer:
        """Extend, ack and lease in one request: `POST /work`."""
        return self.call("POST", "/work", [], body, timeout)

    def list_tasks(self, state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled", "all"], *, queue: str | None = None, queue_part: str | None = None, type: str | None = None, type_part: str | None = None, group: str | None = None, id: str | None = None, text: str | None = None, order: Literal["queue", "time"] | None = None, limit: int | None = None, cursor: str | None = None, meta: dict[str, str] | None = None, timeout: float | None = None) -> TasksAnswer:
        """List or search tasks: `GET /tasks`."""
        return self.call("GET", "/tasks", [("query", "state", state), ("query", "queue", queue), ("query", "queue_part", queue_part), ("query", "type", type), ("query", "type_part", type_part), ("query", "group", group), ("query", "id", id), ("query", "text", text), ("query", "order", order), ("query", "limit", limit), ("query", "cursor", cursor), ("query", "meta.*", meta)], None, timeout)

    def list_dead(self, *, queue: str | None = None, type: str | None = None, group: str | None = None, error: str | None = None, queue_part: str | None = None, type_part: str | None = None, reason: Literal["failed", "crashed", "timed_out", "expired", "released"] | None = None, fingerprint: str | None = None, older_than_ms: int | None = None, newer_than_ms: int | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> DlqAnswer:
        """List dead tasks: `GET /dlq`."""
        return self.call("GET", "/dlq", [("query", "queue", queue), ("query", "type", type), ("query", "group", group), ("query", "error", error), ("query", "queue_part", queue_part), ("query", "type_part", type_part), ("query", "reason", reason), ("query", "fingerprint", fingerprint), ("query", "older_than_ms", older_than_ms), ("query", "newer_than_ms", newer_than_ms), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    def group_dead(self, *, queue: str | None = None, type: str | None = None, group: str | None = None, error: str | None = None, queue_part: str | None = None, type_part: str | None = None, reason: Literal["failed", "crashed", "timed_out", "expired", "released"] | None = None, fingerprint: str | None = None, older_than_ms: int | None = None, newer_than_ms: int | None = None, cursor: str | None = None, timeout: float | None = None) -> DlqGroupsAnswer:
        """Group dead tasks by error: `GET /dlq/groups`."""
        return self.call("GET", "/dlq/groups", [("query", "queue", queue), ("query", "type", type), ("query", "group", group), ("query", "error", error), ("query", "queue_part", queue_part), ("query", "type_part", type_part), ("query", "reason", reason), ("query", "fingerprint", fingerprint), ("query", "older_than_ms", older_than_ms), ("query", "newer_than_ms", newer_than_ms), ("query", "cursor", cursor)], None, timeout)

    def retry_dead_task(self, id: str, body: RetryTask = {}, *, timeout: float | None = None) -> RetriedTask:
        """Retry a dead task: `POST /dlq/retry/{id}`."""
        return self.call("POST", "/dlq/retry/{id}", [("path", "id", id)], body, timeout)

    def retry_dead_tasks(self, body: RetryMany, *, timeout: float | None = None) -> RetriedMany:
        """Retry the dead tasks that match a filter: `POST /dlq/retry`."""
        return self.call("POST", "/dlq/retry", [], body, timeout)

    def purge_dead_tasks(self, body: DlqPurge, *, timeout: float | None = None) -> DlqPurged:
        """Delete the dead tasks that match a filter: `POST /dlq/purge`."""
        return self.call("POST", "/dlq/purge", [], body, timeout)

    def delete_dead_task(self, id: str, *, timeout: float | None = None) -> DeletedTask:
        """Delete a dead task: `DELETE /dlq/{id}`."""
        return self.call("DELETE", "/dlq/{id}", [("path", "id", id)], None, timeout)

    def cancel_tasks(self, body: CancelMany, *, timeout: float | None = None) -> CancelledMany:
        """Cancel the tasks that match a filter: `POST /cancel`."""
        return self.call("POST", "/cancel", [], body, timeout)

    def start_bulk(self, body: BulkRequest, *, idempotency_key: str | None = None, timeout: float | None = None) -> BulkView:
        """Start a bulk operation: retry, purge, cancel, start now or submit again: `POST /bulk`."""
        return self.call("POST", "/bulk", [("header", "Idempotency-Key", idempotency_key)], body, timeout)

    def list_bulk(self, *, limit: int | None = None, timeout: float | None = None) -> BulkAnswer:
        """List the bulk operations: `GET /bulk`."""
        return self.call("GET", "/bulk", [("query", "limit", limit)], None, timeout)

    def count_bulk(self, body: BulkCount, *, timeout: float | None = None) -> BulkCounted:
        """Count the tasks that a bulk operation would change: `POST /bulk/count`."""
        return self.call("POST", "/bulk/count", [], body, timeout)

    def get_bulk(self, bulk: str, *, timeout: float | None = None) -> BulkView:
        """Get a bulk operation: `GET /bulk/{bulk}`."""
        return self.call("GET", "/bulk/{bulk}", [("path", "bulk", bulk)], None, timeout)

    def stop_bulk(self, bulk: str, *, timeout: float | None = None) -> BulkStopped:
        """Stop a bulk operation: `POST /bulk/{bulk}/stop`."""
        return self.call("POST", "/bulk/{bulk}/stop", [("path", "bulk", bulk)], None, timeout)

    def list_queues(self, *, order: Literal["name", "attention", "queued", "delayed", "processing", "dead", "oldest", "done", "failed", "wait", "workers"] | None = None, queue_part: str | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> QueuesAnswer:
        """List the queues: `GET /queues`."""
        return self.call("GET", "/queues", [("query", "order", order), ("query", "queue_part", queue_part), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    def get_queue(self, queue: str, *, timeout: float | None = None) -> QueueView:
        """Get a queue: `GET /queues/{queue}`."""
        return self.call("GET", "/queues/{queue}", [("path", "queue", queue)], None, timeout)

    def pause_queue(self, queue: str, body: Pause = {}, *, timeout: float | None = None) -> Paused:
        """Pause a queue: `POST /queues/{queue}/pause`."""
        return self.call("POST", "/queues/{queue}/pause", [("path", "queue", queue)], body, timeout)

    def resume_queue(self, queue: str, *, timeout: float | None = None) -> Paused:
        """Resume a paused queue: `POST /queues/{queue}/resume`."""
        return self.call("POST", "/queues/{queue}/resume", [("path", "queue", queue)], None, timeout)

    def set_queue_settings(self, queue: str, body: QueueSettings, *, timeout: float | None = None) -> QueueView:
        """Set the defaults and limits of a queue, and the limits of its groups: `PUT /queues/{queue}/settings`."""
        return self.call("PUT", "/queues/{queue}/settings", [("path", "queue", queue)], body, timeout)

    def list_groups(self, queue: str, *, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> GroupsAnswer:
        """List the groups of a queue, the largest backlog first: `GET /queues/{queue}/groups`."""
        return self.call("GET", "/queues/{queue}/groups", [("path", "queue", queue), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    def get_group(self, queue: str, group: str, *, timeout: float | None = None) -> GroupView:
        """Get a group: waiting, running, held and why: `GET /queues/{queue}/groups/{group}`."""
        return self.call("GET", "/queues/{queue}/groups/{group}", [("path", "queue", queue), ("path", "group", group)], None, timeout)

    def set_group_limits(self, queue: str, group: str, body: GroupLimits, *, timeout: float | None = None) -> GroupView:
        """Set the limits of a group that differ from those of its queue: `PUT /queues/{queue}/groups/{group}`."""
        return self.call("PUT", "/queues/{queue}/groups/{group}", [("path", "queue", queue), ("path", "group", group)], body, timeout)

    def remove_group_limits(self, queue: str, group: str, *, timeout: float | None = None) -> GroupView:
        """Remove the limits of a group that differ from those of its queue: `DELETE /queues/{queue}/groups/{group}`."""
        return self.call("DELETE", "/queues/{queue}/groups/{group}", [("path", "queue", queue), ("path", "group", group)], None, timeout)

    def pause_group(self, queue: str, group: str, body: Pause = {}, *, timeout: float | None = None) -> GroupView:
        """Stop handing out tasks of a group: `POST /queues/{queue}/groups/{group}/pause`."""
        return self.call("POST", "/queues/{queue}/groups/{group}/pause", [("path", "queue", queue), ("path", "group", group)], body, timeout)

    def resume_group(self, queue: str, group: str, *, timeout: float | None = None) -> GroupView:
        """Hand out tasks of a group again: `POST /queues/{queue}/groups/{group}/resume`."""
        return self.call("POST", "/queues/{queue}/groups/{group}/resume", [("path", "queue", queue), ("path", "group", group)], None, timeout)

    def purge_queue(self, queue: str, body: Purge, *, timeout: float | None = None) -> Purged:
        """Delete the tasks of a queue that are in one state: `POST /queues/{queue}/purge`."""
        return self.call("POST", "/queues/{queue}/purge", [("path", "queue", queue)], body, timeout)

    def get_history(self, *, queue: str | None = None, type: str | None = None, types: Literal["true", "false"] | None = None, from_at: int | None = None, to_at: int | None = None, step: str | None = None, timeout: float | None = None) -> HistoryAnswer:
        """Get what happened per minute or hour: `GET /history`."""
        return self.call("GET", "/history", [("query", "queue", queue), ("query", "type", type), ("query", "types", types), ("query", "from_at", from_at), ("query", "to_at", to_at), ("query", "step", step)], None, timeout)

    def add_mark(self, body: AddMark, *, timeout: float | None = None) -> Mark:
        """Mark a moment in the history, such as a deploy: `POST /history/marks`."""
        return self.call("POST", "/history/marks", [], body, timeout)

    def list_workers(self, *, queue: str | None = None, worker: str | None = None, state: list[Literal["live", "draining", "stale", "gone"]] | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> WorkersAnswer:
        """List the workers: `GET /workers`."""
        return self.call("GET", "/workers", [("query", "queue", queue), ("query", "worker", worker), ("query", "state", state), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    def drain_worker(self, worker: str, *, timeout: float | None = None) -> Drained:
        """Drain a worker: it finishes its tasks and stops: `POST /workers/{worker}/drain`."""
        return self.call("POST", "/workers/{worker}/drain", [("path", "worker", worker)], None, timeout)

    def undrain_worker(self, worker: str, *, timeout: float | None = None) -> Drained:
        """Withdraw the drain of a worker: `DELETE /workers/{worker}/drain`."""
        return self.call("DELETE", "/workers/{worker}/drain", [("path", "worker", worker)], None, timeout)

    def listen_events(self, *, queue: list[str] | None = None, task: str | None = None, event: list[Literal["submitted", "scheduled", "leased", "done", "failed", "released", "lapsed", "dead", "cancelling", "cancelled", "retried", "changed", "deleted", "paused", "resumed", "settings", "purged", "group_limits", "group_paused", "group_resumed", "bulk_started", "bulk_ended", "schedule_set", "schedule_deleted", "schedule_paused", "schedule_resumed", "schedule_skipped", "schedule_missed", "counts", "skipped", "gap", "listening"]] | None = None, last_event_id: str | None = None) -> Iterator[Event]:
        """Stream events as they happen: `GET /events`."""
        return self.events("/events", [("query", "queue", queue), ("query", "task", task), ("query", "event", event), ("query", "last_event_id", last_event_id)])

    def list_actions(self, *, queue: str | None = None, by: str | None = None, action: Literal["cancelTask", "cancelTasks", "changeTask", "submitAgain", "deleteTask", "setSchedule", "deleteSchedule", "pauseSchedule", "resumeSchedule", "runSchedule", "retryDeadTask", "retryDeadTasks", "purgeDeadTasks", "deleteDeadTask", "startBulk", "stopBulk", "pauseQueue", "resumeQueue", "setQueueSettings", "purgeQueue", "setGroupLimits", "removeGroupLimits", "pauseGroup", "resumeGroup", "addMark", "drainWorker", "undrainWorker", "audit"] | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> ActionsAnswer:
        """List what operators did, the newest first: `GET /actions`."""
        return self.call("GET", "/actions", [("query", "queue", queue), ("query", "by", by), ("query", "action", action), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    def list_brokers(self, *, timeout: float | None = None) -> BrokersAnswer:
        """List the brokers that share this Redis: `GET /brokers`."""
        return self.call("GET", "/brokers", [], None, timeout)

    def audit(self, *, queue: str | None = None, fix: Literal["true", "false"] | None = None, timeout: float | None = None) -> AuditAnswer:
        """Check the consistency of all data, and repair it on request: `POST /audit`."""
        return self.call("POST", "/audit", [("query", "queue", queue), ("query", "fix", fix)], None, timeout)

    def metrics(self, *, timeout: float | None = None) -> str:
        """Get metrics for Prometheus: `GET /metrics`."""
        return self.call("GET", "/metrics", [], None, timeout, is_text=True)

    def sign_in(self, body: SignIn, *, timeout: float | None = None) -> SessionView:
        """Exchange a token for a session cookie: `POST /session`."""
        return self.call("POST", "/session", [], body, timeout)

    def who_am_i(self, *, timeout: float | None = None) -> SessionView | None:
        """Get the name and the roles of the caller: `GET /session`."""
        return self.call("GET", "/session", [], None, timeout)

    def sign_out(self, *, timeout: float | None = None) -> SessionEnded:
        """Delete the session cookie: `DELETE /session`."""
        return self.call("DELETE", "/session", [], None, timeout)

    def health(self, *, timeout: float | None = None) -> Alive:
        """Check whether the process is alive: `GET /healthz`."""
        return self.call("GET", "/healthz", [], None, timeout)

    def ready(self, *, timeout: float | None = None) -> Ready:
        """Check whether the broker can do its work: `GET /readyz`."""
        return self.call("GET", "/readyz", [], None, timeout)


class AsyncCalls(AsyncTransport):
    """Every call of the API, as coroutines."""

    @overload
    async def submit_tasks(self, body: Submit, *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> Submitted: ...

    @overload
    async def submit_tasks(self, body: list[Submit], *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> list[Submitted | Problem]: ...

    async def submit_tasks(self, body: Any, *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> Any:
        """Submit one task or up to 1,000: `POST /submit`."""
        return await self.call("POST", "/submit", [("header", "Idempotency-Key", idempotency_key), ("header", "traceparent", traceparent), ("header", "tracestate", tracestate)], body, timeout)

    async def cancel_task(self, id: str, *, timeout: float | None = None) -> Cancelled:
        """Cancel a task: `POST /cancel/{id}`."""
        return await self.call("POST", "/cancel/{id}", [("path", "id", id)], None, timeout)

    async def change_task(self, id: str, body: TaskChange, *, timeout: float | None = None) -> TaskChanged:
        """Change a waiting task, or let it run now: `PATCH /tasks/{id}`."""
        return await self.call("PATCH", "/tasks/{id}", [("path", "id", id)], body, timeout)

    async def delete_task(self, id: str, *, timeout: float | None = None) -> TaskDeleted:
        """Delete a task that has ended: `DELETE /tasks/{id}`."""
        return await self.call("DELETE", "/tasks/{id}", [("path", "id", id)], None, timeout)

    async def submit_again(self, id: str, body: Again = {}, *, idempotency_key: str | None = None, traceparent: str | None = None, tracestate: str | None = None, timeout: float | None = None) -> SubmittedAgain:
        """Submit a task like one that has ended: `POST /tasks/{id}/again`."""
        return await self.call("POST", "/tasks/{id}/again", [("path", "id", id), ("header", "Idempotency-Key", idempotency_key), ("header", "traceparent", traceparent), ("header", "tracestate", tracestate)], body, timeout)

    async def set_schedule(self, schedule: str, body: Schedule, *, timeout: float | None = None) -> ScheduleSet:
        """Create or replace a schedule: `PUT /schedules/{schedule}`."""
        return await self.call("PUT", "/schedules/{schedule}", [("path", "schedule", schedule)], body, timeout)

    async def get_schedule(self, schedule: str, *, timeout: float | None = None) -> ScheduleView:
        """Get a schedule: `GET /schedules/{schedule}`."""
        return await self.call("GET", "/schedules/{schedule}", [("path", "schedule", schedule)], None, timeout)

    async def delete_schedule(self, schedule: str, *, timeout: float | None = None) -> ScheduleDeleted:
        """Delete a schedule: `DELETE /schedules/{schedule}`."""
        return await self.call("DELETE", "/schedules/{schedule}", [("path", "schedule", schedule)], None, timeout)

    async def list_schedules(self, *, queue: str | None = None, schedule_part: str | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> SchedulesAnswer:
        """List schedules: `GET /schedules`."""
        return await self.call("GET", "/schedules", [("query", "queue", queue), ("query", "schedule_part", schedule_part), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    async def pause_schedule(self, schedule: str, body: Pause = {}, *, timeout: float | None = None) -> SchedulePaused:
        """Pause a schedule: `POST /schedules/{schedule}/pause`."""
        return await self.call("POST", "/schedules/{schedule}/pause", [("path", "schedule", schedule)], body, timeout)

    async def resume_schedule(self, schedule: str, *, timeout: float | None = None) -> SchedulePaused:
        """Resume a paused schedule: `POST /schedules/{schedule}/resume`."""
        return await self.call("POST", "/schedules/{schedule}/resume", [("path", "schedule", schedule)], None, timeout)

    async def run_schedule(self, schedule: str, *, idempotency_key: str | None = None, timeout: float | None = None) -> ScheduleRun:
        """Create a task of a schedule now: `POST /schedules/{schedule}/run`."""
        return await self.call("POST", "/schedules/{schedule}/run", [("path", "schedule", schedule), ("header", "Idempotency-Key", idempotency_key)], None, timeout)

    async def preview_schedule(self, body: Preview, *, timeout: float | None = None) -> Previewed:
        """Compute the next times of a cron expression or an interval: `POST /schedules/preview`."""
        return await self.call("POST", "/schedules/preview", [], body, timeout)

    async def get_task(self, id: str, *, wait_ms: int | None = None, timeout: float | None = None) -> TaskView:
        """Get a task: `GET /status/{id}`."""
        return await self.call("GET", "/status/{id}", [("path", "id", id), ("query", "wait_ms", wait_ms)], None, timeout)

    async def why_task(self, id: str, *, timeout: float | None = None) -> WhyAnswer:
        """Explain why a task is not running: `GET /why/{id}`."""
        return await self.call("GET", "/why/{id}", [("path", "id", id)], None, timeout)

    async def lease_one(self, *, queue: list[str] | None = None, wait_ms: int | None = None, worker: str | None = None, timeout: float | None = None) -> LeasedTask | None:
        """Lease one task: `GET /get`."""
        return await self.call("GET", "/get", [("query", "queue", queue), ("query", "wait_ms", wait_ms), ("query", "worker", worker)], None, timeout)

    async def lease(self, body: LeaseRequest, *, timeout: float | None = None) -> LeaseAnswer:
        """Lease up to 1,000 tasks: `POST /lease`."""
        return await self.call("POST", "/lease", [], body, timeout)

    @overload
    async def ack(self, body: Ack, *, timeout: float | None = None) -> Settled: ...

    @overload
    async def ack(self, body: list[Ack], *, timeout: float | None = None) -> list[Settled | Problem]: ...

    async def ack(self, body: Any, *, timeout: float | None = None) -> Any:
        """Report the outcome of one task or up to 1,000: `POST /ack`."""
        return await self.call("POST", "/ack", [], body, timeout)

    @overload
    async def extend(self, body: Extend, *, timeout: float | None = None) -> Extended: ...

    @overload
    async def extend(self, body: list[Extend], *, timeout: float | None = None) -> list[Extended | Problem]: ...

    async def extend(self, body: Any, *, timeout: float | None = None) -> Any:
        """Extend one lease or up to 1,000: `POST /extend`."""
        return await self.call("POST", "/extend", [], body, timeout)

    async def work(self, body: Work, *, timeout: float | None = None) -> WorkAnswer:
        """Extend, ack and lease in one request: `POST /work`."""
        return await self.call("POST", "/work", [], body, timeout)

    async def list_tasks(self, state: Literal["scheduled", "queued", "processing", "retrying", "done", "dead", "cancelled", "all"], *, queue: str | None = None, queue_part: str | None = None, type: str | None = None, type_part: str | None = None, group: str | None = None, id: str | None = None, text: str | None = None, order: Literal["queue", "time"] | None = None, limit: int | None = None, cursor: str | None = None, meta: dict[str, str] | None = None, timeout: float | None = None) -> TasksAnswer:
        """List or search tasks: `GET /tasks`."""
        return await self.call("GET", "/tasks", [("query", "state", state), ("query", "queue", queue), ("query", "queue_part", queue_part), ("query", "type", type), ("query", "type_part", type_part), ("query", "group", group), ("query", "id", id), ("query", "text", text), ("query", "order", order), ("query", "limit", limit), ("query", "cursor", cursor), ("query", "meta.*", meta)], None, timeout)

    async def list_dead(self, *, queue: str | None = None, type: str | None = None, group: str | None = None, error: str | None = None, queue_part: str | None = None, type_part: str | None = None, reason: Literal["failed", "crashed", "timed_out", "expired", "released"] | None = None, fingerprint: str | None = None, older_than_ms: int | None = None, newer_than_ms: int | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> DlqAnswer:
        """List dead tasks: `GET /dlq`."""
        return await self.call("GET", "/dlq", [("query", "queue", queue), ("query", "type", type), ("query", "group", group), ("query", "error", error), ("query", "queue_part", queue_part), ("query", "type_part", type_part), ("query", "reason", reason), ("query", "fingerprint", fingerprint), ("query", "older_than_ms", older_than_ms), ("query", "newer_than_ms", newer_than_ms), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    async def group_dead(self, *, queue: str | None = None, type: str | None = None, group: str | None = None, error: str | None = None, queue_part: str | None = None, type_part: str | None = None, reason: Literal["failed", "crashed", "timed_out", "expired", "released"] | None = None, fingerprint: str | None = None, older_than_ms: int | None = None, newer_than_ms: int | None = None, cursor: str | None = None, timeout: float | None = None) -> DlqGroupsAnswer:
        """Group dead tasks by error: `GET /dlq/groups`."""
        return await self.call("GET", "/dlq/groups", [("query", "queue", queue), ("query", "type", type), ("query", "group", group), ("query", "error", error), ("query", "queue_part", queue_part), ("query", "type_part", type_part), ("query", "reason", reason), ("query", "fingerprint", fingerprint), ("query", "older_than_ms", older_than_ms), ("query", "newer_than_ms", newer_than_ms), ("query", "cursor", cursor)], None, timeout)

    async def retry_dead_task(self, id: str, body: RetryTask = {}, *, timeout: float | None = None) -> RetriedTask:
        """Retry a dead task: `POST /dlq/retry/{id}`."""
        return await self.call("POST", "/dlq/retry/{id}", [("path", "id", id)], body, timeout)

    async def retry_dead_tasks(self, body: RetryMany, *, timeout: float | None = None) -> RetriedMany:
        """Retry the dead tasks that match a filter: `POST /dlq/retry`."""
        return await self.call("POST", "/dlq/retry", [], body, timeout)

    async def purge_dead_tasks(self, body: DlqPurge, *, timeout: float | None = None) -> DlqPurged:
        """Delete the dead tasks that match a filter: `POST /dlq/purge`."""
        return await self.call("POST", "/dlq/purge", [], body, timeout)

    async def delete_dead_task(self, id: str, *, timeout: float | None = None) -> DeletedTask:
        """Delete a dead task: `DELETE /dlq/{id}`."""
        return await self.call("DELETE", "/dlq/{id}", [("path", "id", id)], None, timeout)

    async def cancel_tasks(self, body: CancelMany, *, timeout: float | None = None) -> CancelledMany:
        """Cancel the tasks that match a filter: `POST /cancel`."""
        return await self.call("POST", "/cancel", [], body, timeout)

    async def start_bulk(self, body: BulkRequest, *, idempotency_key: str | None = None, timeout: float | None = None) -> BulkView:
        """Start a bulk operation: retry, purge, cancel, start now or submit again: `POST /bulk`."""
        return await self.call("POST", "/bulk", [("header", "Idempotency-Key", idempotency_key)], body, timeout)

    async def list_bulk(self, *, limit: int | None = None, timeout: float | None = None) -> BulkAnswer:
        """List the bulk operations: `GET /bulk`."""
        return await self.call("GET", "/bulk", [("query", "limit", limit)], None, timeout)

    async def count_bulk(self, body: BulkCount, *, timeout: float | None = None) -> BulkCounted:
        """Count the tasks that a bulk operation would change: `POST /bulk/count`."""
        return await self.call("POST", "/bulk/count", [], body, timeout)

    async def get_bulk(self, bulk: str, *, timeout: float | None = None) -> BulkView:
        """Get a bulk operation: `GET /bulk/{bulk}`."""
        return await self.call("GET", "/bulk/{bulk}", [("path", "bulk", bulk)], None, timeout)

    async def stop_bulk(self, bulk: str, *, timeout: float | None = None) -> BulkStopped:
        """Stop a bulk operation: `POST /bulk/{bulk}/stop`."""
        return await self.call("POST", "/bulk/{bulk}/stop", [("path", "bulk", bulk)], None, timeout)

    async def list_queues(self, *, order: Literal["name", "attention", "queued", "delayed", "processing", "dead", "oldest", "done", "failed", "wait", "workers"] | None = None, queue_part: str | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> QueuesAnswer:
        """List the queues: `GET /queues`."""
        return await self.call("GET", "/queues", [("query", "order", order), ("query", "queue_part", queue_part), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    async def get_queue(self, queue: str, *, timeout: float | None = None) -> QueueView:
        """Get a queue: `GET /queues/{queue}`."""
        return await self.call("GET", "/queues/{queue}", [("path", "queue", queue)], None, timeout)

    async def pause_queue(self, queue: str, body: Pause = {}, *, timeout: float | None = None) -> Paused:
        """Pause a queue: `POST /queues/{queue}/pause`."""
        return await self.call("POST", "/queues/{queue}/pause", [("path", "queue", queue)], body, timeout)

    async def resume_queue(self, queue: str, *, timeout: float | None = None) -> Paused:
        """Resume a paused queue: `POST /queues/{queue}/resume`."""
        return await self.call("POST", "/queues/{queue}/resume", [("path", "queue", queue)], None, timeout)

    async def set_queue_settings(self, queue: str, body: QueueSettings, *, timeout: float | None = None) -> QueueView:
        """Set the defaults and limits of a queue, and the limits of its groups: `PUT /queues/{queue}/settings`."""
        return await self.call("PUT", "/queues/{queue}/settings", [("path", "queue", queue)], body, timeout)

    async def list_groups(self, queue: str, *, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> GroupsAnswer:
        """List the groups of a queue, the largest backlog first: `GET /queues/{queue}/groups`."""
        return await self.call("GET", "/queues/{queue}/groups", [("path", "queue", queue), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    async def get_group(self, queue: str, group: str, *, timeout: float | None = None) -> GroupView:
        """Get a group: waiting, running, held and why: `GET /queues/{queue}/groups/{group}`."""
        return await self.call("GET", "/queues/{queue}/groups/{group}", [("path", "queue", queue), ("path", "group", group)], None, timeout)

    async def set_group_limits(self, queue: str, group: str, body: GroupLimits, *, timeout: float | None = None) -> GroupView:
        """Set the limits of a group that differ from those of its queue: `PUT /queues/{queue}/groups/{group}`."""
        return await self.call("PUT", "/queues/{queue}/groups/{group}", [("path", "queue", queue), ("path", "group", group)], body, timeout)

    async def remove_group_limits(self, queue: str, group: str, *, timeout: float | None = None) -> GroupView:
        """Remove the limits of a group that differ from those of its queue: `DELETE /queues/{queue}/groups/{group}`."""
        return await self.call("DELETE", "/queues/{queue}/groups/{group}", [("path", "queue", queue), ("path", "group", group)], None, timeout)

    async def pause_group(self, queue: str, group: str, body: Pause = {}, *, timeout: float | None = None) -> GroupView:
        """Stop handing out tasks of a group: `POST /queues/{queue}/groups/{group}/pause`."""
        return await self.call("POST", "/queues/{queue}/groups/{group}/pause", [("path", "queue", queue), ("path", "group", group)], body, timeout)

    async def resume_group(self, queue: str, group: str, *, timeout: float | None = None) -> GroupView:
        """Hand out tasks of a group again: `POST /queues/{queue}/groups/{group}/resume`."""
        return await self.call("POST", "/queues/{queue}/groups/{group}/resume", [("path", "queue", queue), ("path", "group", group)], None, timeout)

    async def purge_queue(self, queue: str, body: Purge, *, timeout: float | None = None) -> Purged:
        """Delete the tasks of a queue that are in one state: `POST /queues/{queue}/purge`."""
        return await self.call("POST", "/queues/{queue}/purge", [("path", "queue", queue)], body, timeout)

    async def get_history(self, *, queue: str | None = None, type: str | None = None, types: Literal["true", "false"] | None = None, from_at: int | None = None, to_at: int | None = None, step: str | None = None, timeout: float | None = None) -> HistoryAnswer:
        """Get what happened per minute or hour: `GET /history`."""
        return await self.call("GET", "/history", [("query", "queue", queue), ("query", "type", type), ("query", "types", types), ("query", "from_at", from_at), ("query", "to_at", to_at), ("query", "step", step)], None, timeout)

    async def add_mark(self, body: AddMark, *, timeout: float | None = None) -> Mark:
        """Mark a moment in the history, such as a deploy: `POST /history/marks`."""
        return await self.call("POST", "/history/marks", [], body, timeout)

    async def list_workers(self, *, queue: str | None = None, worker: str | None = None, state: list[Literal["live", "draining", "stale", "gone"]] | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> WorkersAnswer:
        """List the workers: `GET /workers`."""
        return await self.call("GET", "/workers", [("query", "queue", queue), ("query", "worker", worker), ("query", "state", state), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    async def drain_worker(self, worker: str, *, timeout: float | None = None) -> Drained:
        """Drain a worker: it finishes its tasks and stops: `POST /workers/{worker}/drain`."""
        return await self.call("POST", "/workers/{worker}/drain", [("path", "worker", worker)], None, timeout)

    async def undrain_worker(self, worker: str, *, timeout: float | None = None) -> Drained:
        """Withdraw the drain of a worker: `DELETE /workers/{worker}/drain`."""
        return await self.call("DELETE", "/workers/{worker}/drain", [("path", "worker", worker)], None, timeout)

    def listen_events(self, *, queue: list[str] | None = None, task: str | None = None, event: list[Literal["submitted", "scheduled", "leased", "done", "failed", "released", "lapsed", "dead", "cancelling", "cancelled", "retried", "changed", "deleted", "paused", "resumed", "settings", "purged", "group_limits", "group_paused", "group_resumed", "bulk_started", "bulk_ended", "schedule_set", "schedule_deleted", "schedule_paused", "schedule_resumed", "schedule_skipped", "schedule_missed", "counts", "skipped", "gap", "listening"]] | None = None, last_event_id: str | None = None) -> AsyncIterator[Event]:
        """Stream events as they happen: `GET /events`."""
        return self.events("/events", [("query", "queue", queue), ("query", "task", task), ("query", "event", event), ("query", "last_event_id", last_event_id)])

    async def list_actions(self, *, queue: str | None = None, by: str | None = None, action: Literal["cancelTask", "cancelTasks", "changeTask", "submitAgain", "deleteTask", "setSchedule", "deleteSchedule", "pauseSchedule", "resumeSchedule", "runSchedule", "retryDeadTask", "retryDeadTasks", "purgeDeadTasks", "deleteDeadTask", "startBulk", "stopBulk", "pauseQueue", "resumeQueue", "setQueueSettings", "purgeQueue", "setGroupLimits", "removeGroupLimits", "pauseGroup", "resumeGroup", "addMark", "drainWorker", "undrainWorker", "audit"] | None = None, limit: int | None = None, cursor: str | None = None, timeout: float | None = None) -> ActionsAnswer:
        """List what operators did, the newest first: `GET /actions`."""
        return await self.call("GET", "/actions", [("query", "queue", queue), ("query", "by", by), ("query", "action", action), ("query", "limit", limit), ("query", "cursor", cursor)], None, timeout)

    async def list_brokers(self, *, timeout: float | None = None) -> BrokersAnswer:
        """List the brokers that share this Redis: `GET /brokers`."""
        return await self.call("GET", "/brokers", [], None, timeout)

    async def audit(self, *, queue: str | None = None, fix: Literal["true", "false"] | None = None, timeout: float | None = None) -> AuditAnswer:
        """Check the consistency of all data, and repair it on request: `POST /audit`."""
        return await self.call("POST", "/audit", [("query", "queue", queue), ("query", "fix", fix)], None, timeout)

    async def metrics(self, *, timeout: float | None = None) -> str:
        """Get metrics for Prometheus: `GET /metrics`."""
        return await self.call("GET", "/metrics", [], None, timeout, is_text=True)

    async def sign_in(self, body: SignIn, *, timeout: float | None = None) -> SessionView:
        """Exchange a token for a session cookie: `POST /session`."""
        return await self.call("POST", "/session", [], body, timeout)

    async def who_am_i(self, *, timeout: float | None = None) -> SessionView | None:
        """Get the name and the roles of the caller: `GET /session`."""
        return await self.call("GET", "/session", [], None, timeout)

    async def sign_out(self, *, timeout: float | None = None) -> SessionEnded:
        """Delete the session cookie: `DELETE /session`."""
        return await self.call("DELETE", "/session", [], None, timeout)

    async def health(self, *, timeout: float | None = None) -> Alive:
        """Check whether the process is alive: `GET /healthz`."""
        return await self.call("GET", "/healthz", [], None, timeout)

    async def ready(self, *, timeout: float | None = None) -> Ready:
        """Check whether the broker can do its work: `GET /readyz`."""
        return await self.call("GET", "/readyz", [], None, timeout)
