"""Writes dst-times.json: the times of cron expressions around changes of the clock, computed without lib/.

Each minute of a window is compared with the expression by its local time. A schedule whose minute or hour has all values
also runs when the clock repeats an hour. The first matching time that the clock skips is moved by the length of the gap,
unless the schedule has an earlier time after the gap.

    python3 tests/task/dst-times.py > tests/task/dst-times.json
"""
import json
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
CHANGES = {
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00"],
    "Europe/London": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Australia/Lord_Howe": ["2026-10-03T15:30", "2026-04-04T15:00"],
    "America/Santiago": ["2026-09-06T04:00", "2026-04-05T03:00"],
    "Africa/Cairo": ["2026-04-23T22:00", "2026-10-29T21:00"],
    "Europe/Athens": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Pacific/Apia": ["2011-12-30T10:00"],
    "UTC": ["2026-03-08T02:00"],
}
# By expression: the hours before and after the change. The window of a frequent schedule is short.
EXPRESSIONS = {
    "30 2 * * *": 60, "0 0 * * *": 60, "0 1 * * *": 60, "10,40 2 * * *": 60, "5 */2 * * *": 6, "0 0 30 12 *": 60,
    "*/15 * * * *": 2, "* 2 * * *": 1, "25-57 * * * *": 1, "9,29,30,54 0-3 * * *": 4,
    "0 */1 * * *": 4, "20 0-23 * * *": 4,
}


def values(text, low, high):
    found = set()
    for part in text.split(","):
        bounds, _, step = part.partition("/")
        first, _, last = bounds.partition("-")
        start, end = (low, high) if first == "*" else (int(first), int(last or first))
        found.update(range(start, end + 1, int(step or 1)))
    return found


def times(expression, zone, start, end):
    minute, hour, day, month, _ = expression.split()
    fields = [values(minute, 0, 59), values(hour, 0, 23), values(day, 1, 31), values(month, 1, 12)]

    def matches(local):
        return all(value in field for value, field in zip((local.minute, local.hour, local.day, local.month), fields))

    repeats = len(fields[0]) == 60 or len(fields[1]) == 24
    found, moved = set(), None
    at = start
    before = at.astimezone(zone).utcoffset()
    while at < end:
        local = at.astimezone(zone)
        gap = local.utcoffset() - before
        before = local.utcoffset()
        if gap > timedelta(0):
            skipped = [local.replace(tzinfo=None) - gap + i * MINUTE for i in range(gap // MINUTE)]
            first = next(filter(matches, skipped), None)
            moved = first and first.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
        if at == moved or (matches(local) and (repeats or local.fold == 0)):
            found.add(at)
            moved = None
        at += MINUTE
    return sorted(found)


rows = []
for zone, changes in CHANGES.items():
    for change in changes:
        at = datetime.fromisoformat(change).replace(tzinfo=timezone.utc)
        for expression, hours in EXPRESSIONS.items():
            start, end = at - timedelta(hours=hours), at + timedelta(hours=hours)
            found = [f"{time:%m-%dT%H:%M}" for time in times(expression, ZoneInfo(zone), start, end)]
            rows.append([zone, expression, f"{start:%Y-%m-%dT%H:%M}", f"{end:%Y-%m-%dT%H:%M}", " ".join(found)])
print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")
