#!/usr/bin/env python3
"""Writes task_queue/api.py: the models and calls of the OpenAPI document that it reads from standard input.

    curl -s http://localhost:5000/swagger/json | python3 lib/python/generate.py > lib/python/task_queue/api.py
"""
import json
import keyword
import re
import sys

HEAD = '''\
"""Models and calls of the broker's API. Generated from its OpenAPI document by generate.py: do not edit."""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, TypedDict, overload

from .transport import AsyncTransport, Event, Transport
'''
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def camel(name):
    return re.sub(r"(?:^|_)(\w)", lambda found: found.group(1).upper(), name)


class Models:
    """The schemas as Python types. Objects inside of others become types of their own, named after their place."""

    def __init__(self, schemas):
        self.texts = {}
        for name, schema in schemas.items():
            self.type_of(schema, name)

    def type_of(self, schema, name):
        if "$ref" in schema:
            return schema["$ref"].rsplit("/", 1)[1]
        if "anyOf" in schema:
            return " | ".join(self.type_of(each, f"{name}{i or str()}") for i, each in enumerate(schema["anyOf"]))
        if "enum" in schema:
            return f"Literal[{', '.join(json.dumps(each) if isinstance(each, str) else repr(each) for each in schema['enum'])}]"
        kind = schema.get("type")
        if kind == "array":
            return f"list[{self.type_of(schema.get('items', {}), name)}]"
        if kind == "object" and schema.get("properties"):
            self.add(name, schema)
            return name
        if kind == "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {self.type_of(values, name) if isinstance(values, dict) else 'Any'}]"
        return SCALARS.get(kind, "Any")

    def add(self, name, schema):
        required = schema.get("required", [])
        members = {True: [], False: []}
        for member, value in schema["properties"].items():
            if keyword.iskeyword(member) or not member.isidentifier():
                raise SystemExit(f"{name}.{member} cannot be a member of a TypedDict")
            about = value.get("description", "").replace("\\", "\\\\").replace('"', '\\"')
            line = f"    {member}: {self.type_of(value, name + camel(member))}"
            members[member in required].append(line + (f'\n    """{about}"""' if about else ""))
        if members[True] and members[False]:
            self.texts[name] = (
                f"class _{name}(TypedDict):\n" + "\n".join(members[True])
                + f"\n\n\nclass {name}(_{name}, total=False):\n" + "\n".join(members[False])
            )
        else:
            total = "" if members[True] else ", total=False"
            self.texts[name] = f"class {name}(TypedDict{total}):\n" + "\n".join(members[True] or members[False])


def media_type(content):
    for kind in ("application/json", "text/event-stream", "text/plain"):
        if kind in content:
            return kind
    return None


def call_of(method, path, operation, models, is_async):
    """One method of a class, with an overload for a request of many items."""
    name = operation["operationId"]
    parameters = [p for p in operation.get("parameters", []) if p["name"] != "Last-Event-ID"]
    required = [p for p in parameters if p.get("required")]
    optional = [p for p in parameters if not p.get("required")]
    positional = [f"{snake(p['name'])}: {models.type_of(p['schema'], camel(name) + camel(p['name']))}" for p in required]
    keywords = []
    for p in optional:
        # `meta.*` takes a dict: each of its items is a parameter of its own.
        kind = "dict[str, str]" if p["name"].endswith(".*") else models.type_of(p["schema"], camel(name) + camel(p["name"]))
        keywords.append(f"{snake(p['name'].replace('.*', ''))}: {kind} | None = None")
    body = operation.get("requestBody")
    bodies = answers = None
    ok = operation["responses"]["200"].get("content", {})
    media = media_type(ok)
    answer = models.type_of(ok[media]["schema"], camel(name) + "Answer") if media else "None"
    if "204" in operation["responses"]:
        answer = f"{answer} | None"
    if body:
        schema = body["content"]["application/json"]["schema"]
        one, many = (schema.get("anyOf") or [schema, None])[:2]
        bodies = [models.type_of(one, camel(name) + "Body")]
        answers = [answer]
        if many:
            bodies.append(models.type_of(many, camel(name) + "Body"))
            answers = [models.type_of(each, camel(name)) for each in ok[media]["schema"]["anyOf"]]
    stream = media == "text/event-stream"
    define, wait = ("async def", "await ") if is_async and not stream else ("def", "")
    if stream:
        answers, answer = None, "AsyncIterator[Event]" if is_async else "Iterator[Event]"

    def signature(body_type, returned):
        given = [f"body: {body_type}" + ("" if body.get("required") else " = {}")] if body else []
        order = positional + given
        # A call that may wait for an answer takes `timeout`, in seconds.
        words = keywords + ([] if stream else ["timeout: float | None = None"])
        return f"    {define} {snake(name)}(self{''.join(', ' + p for p in order)}{', *, ' + ', '.join(words) if words else ''}) -> {returned}:"

    about = f'        """{operation["summary"]}: `{method.upper()} {path}`."""'
    values = ", ".join(
        f"({json.dumps(p['in'])}, {json.dumps(p['name'])}, {snake(p['name'].replace('.*', ''))})" for p in required + optional
    )
    sent = "body" if body else "None"
    if stream:
        last = f"        return self.events({json.dumps(path)}, [{values}])"
    else:
        as_text = ", is_text=True" if media == "text/plain" else ""
        last = f"        return {wait}self.call({json.dumps(method.upper())}, {json.dumps(path)}, [{values}], {sent}, timeout{as_text})"
    if bodies and len(bodies) > 1:
        texts = [f"    @overload\n{signature(each, returned)} ..." for each, returned in zip(bodies, answers)]
        texts.append(f"{signature('Any', 'Any')}\n{about}\n{last}")
        return "\n\n".join(texts)
    return f"{signature(bodies[0] if bodies else '', (answers or [answer])[0])}\n{about}\n{last}"


def main():
    document = json.load(sys.stdin)
    models = Models(document["components"]["schemas"])
    operations = [(m, p, o) for p, methods in document["paths"].items() for m, o in methods.items()]
    classes = [
        f'class {name}({base}):\n    """Every call of the API{kind}."""\n\n'
        + "\n\n".join(call_of(m, p, o, models, is_async) for m, p, o in operations)
        for name, base, kind, is_async in (
            ("Calls", "Transport", "", False),
            ("AsyncCalls", "AsyncTransport", ", as coroutines", True),
        )
    ]
    print("\n\n\n".join([HEAD.rstrip(), *models.texts.values(), *classes]))


if __name__ == "__main__":
    main()
