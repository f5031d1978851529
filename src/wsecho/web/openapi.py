"""The OpenAPI 3.1 description of the admin endpoint, made from the operations table.

Rules of this file: here are only the schemas of bodies, as data; paths, parameters and statuses come from
`wsecho.web.operations`. The schemas allow nothing that they do not name, so that an answer with a forgotten
field fails the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wsecho.policy.facts import ServerState
from wsecho.web.operations import (
    CHANNEL_PATTERN,
    LINES,
    LONGEST_PAGE,
    LONGEST_TEXT,
    OPERATIONS,
    Operation,
)

__all__ = ["SCHEMAS", "description"]

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number", "minimum": 0}
_COUNT: Final = {"type": "integer", "minimum": 0}
_FLAG: Final = {"type": "boolean"}
_CHANNEL: Final = {"type": "string", "pattern": f"^{CHANNEL_PATTERN}$"}
_TIME: Final = {"type": "string", "format": "date-time"}
_BASE64: Final = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _list_of(schema: Mapping[str, Any], most: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": schema, **({} if most is None else {"maxItems": most})}


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


#: By name, the bodies of requests and answers.
SCHEMAS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Error": _object(error={"type": "string", "description": "One line: what is wrong, what is accepted."}),
    "Health": _object(status={"type": "string", "enum": ["live", *ServerState]}),
    "Description": {"type": "object"},
    "Accepting": _object(accepting=_FLAG),
    "Listening": _object(listening=_FLAG),
    "Server": _object(
        state={"type": "string", "enum": [*ServerState]},
        listening=_FLAG,
        accepting=_FLAG,
        uptime_seconds=_NUMBER,
        urls=_list_of(_TEXT),
        versions={"type": "object", "additionalProperties": _TEXT},
        connections=_COUNT,
        channels=_COUNT,
        engine=_object(name=_TEXT, is_up=_FLAG),
        certificates=_list_of(_object(names=_TEXT, ends=_TIME, days_left={"type": "integer"})),
        workers=_list_of(
            _object(number=_COUNT, pid=_or_null(_COUNT), state=_TEXT, restarts=_COUNT, connections=_COUNT)
        ),
    ),
    "Totals": _object(
        services=_list_of(
            _object(
                name=_TEXT,
                open=_COUNT,
                received_messages=_COUNT,
                received_bytes=_COUNT,
                sent_messages=_COUNT,
                sent_bytes=_COUNT,
            )
        ),
        handshakes=_list_of(_object(outcome=_TEXT, status=_or_null(_COUNT), count=_COUNT)),
        ends=_list_of(_object(reason=_TEXT, count=_COUNT)),
        dropped_messages=_COUNT,
        queued_bytes=_COUNT,
        largest_queue_bytes=_COUNT,
    ),
    "Lag": _object(
        count={"type": "integer", "minimum": 0, "description": "How often it was measured."},
        sum_seconds=_NUMBER,
        largest_seconds={"type": "number", "minimum": 0, "description": "Of the last minute."},
    ),
    "Overview": _object(
        server=_ref("Server"), totals=_ref("Totals"), lag=_ref("Lag"), connections=_ref("Connections")
    ),
    "Configuration": _object(
        options=_list_of(_ref("Option")),
        channels={"type": "object", "additionalProperties": _list_of(_ref("Option"))},
    ),
    "Option": _object(
        name=_TEXT,
        value={"type": ["string", "number", "boolean", "array", "null"], "items": _TEXT},
        shown={"type": "string", "description": "The value as one writes it, with its unit."},
        source={"type": "string", "description": 'A file, "command line" or "default".'},
    ),
    "Connection": _object(
        id={"type": "integer", "minimum": 1},
        peer=_TEXT,
        address=_or_null(_TEXT),
        path=_TEXT,
        origin=_or_null(_TEXT),
        service=_TEXT,
        channel=_or_null(_CHANNEL),
        subprotocol=_or_null(_TEXT),
        is_secure=_FLAG,
        since=_TIME,
        received_messages=_COUNT,
        received_bytes=_COUNT,
        sent_messages=_COUNT,
        sent_bytes=_COUNT,
        queued_bytes=_COUNT,
        dropped_messages=_COUNT,
    ),
    "Connections": _object(
        connections=_list_of(_ref("Connection"), LONGEST_PAGE),
        total={"type": "integer", "minimum": 0, "description": "That pass the filters, on all pages."},
        next=_or_null({"type": "integer", "minimum": 1}),
    ),
    "Disconnected": _object(id={"type": "integer", "minimum": 1}, code=_COUNT),
    "Channel": _object(name=_CHANNEL, members={"type": "integer", "minimum": 1}),
    "Channels": _object(
        channels=_list_of(_ref("Channel"), LONGEST_PAGE),
        total={"type": "integer", "minimum": 0, "description": "That pass the filter, on all pages."},
        next=_or_null(_CHANNEL),
    ),
    "Sample": _object(
        time=_TIME,
        connection={
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "Null of what was published here.",
        },
        peer=_or_null(_TEXT),
        service=_TEXT,
        channel=_or_null(_CHANNEL),
        kind={"type": "string", "enum": ["text", "binary"]},
        size={"type": "integer", "minimum": 0, "description": "Bytes of the payload."},
        beginning={"type": "string", "description": "Text escaped, bytes in hexadecimal; cut."},
        dropped={
            "type": "integer",
            "minimum": 0,
            "description": "Samples before this one that were not read fast enough, and left out.",
        },
    ),
    "Message": {
        "oneOf": [
            _object(channel=_CHANNEL, text={"type": "string", "maxLength": LONGEST_TEXT}),
            _object(
                channel=_CHANNEL,
                base64={
                    "type": "string",
                    "contentEncoding": "base64",
                    "pattern": _BASE64,
                    "maxLength": (LONGEST_TEXT + 2) // 3 * 4,
                },
            ),
        ]
    },
    "Published": _object(channel=_CHANNEL, members=_COUNT),
}

#: What every operation may answer besides.
_ERRORS: Final = {
    400: "The request is not what this description says; the line tells the difference.",
    403: "The request comes from a web page of another origin.",
    421: "The Host header names no host that is served here.",
}


def description(version: str, *, has_token: bool) -> dict[str, Any]:
    """The description.

    :param version: of wsecho
    :param has_token: whether a token is needed
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wsecho admin endpoint",
            "version": version,
            "description": "Health, metrics, and what an operator asks and does.",
        },
        "security": [{"token": []}] if has_token else [],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The line in the file of --admin-token-file; none without that option.",
                }
            },
            "schemas": SCHEMAS,
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": operation.name, "summary": operation.meaning}
    if not operation.needs_token:
        described["security"] = []
    if operation.parameters:
        described["parameters"] = [
            {
                "name": parameter.name,
                "in": "path" if f"{{{parameter.name}}}" in operation.path else "query",
                "required": f"{{{parameter.name}}}" in operation.path,
                "description": parameter.meaning,
                "schema": parameter.schema,
            }
            for parameter in operation.parameters
        ]
    answers: dict[int, tuple[str, str]] = {
        **operation.answers,
        **{status: (meaning, "Error") for status, meaning in _ERRORS.items()},
    }
    if operation.needs_token:
        answers[401] = ("The token is missing or wrong.", "Error")
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
        answers[413] = ("The body is larger than is read.", "Error")
        answers[415] = ("The body is not application/json.", "Error")
    described["responses"] = {
        str(status): {"description": meaning, "content": _content(schema)}
        for status, (meaning, schema) in sorted(answers.items())
    }
    return described


def _content(schema: str) -> dict[str, Any]:
    if schema == LINES:
        # OpenAPI 3.1 has no word for what each line is.
        return {LINES: {"schema": {"type": "string", "x-lines": _ref("Sample")}}}
    if schema:
        return {"application/json": {"schema": _ref(schema)}}
    return {kind: {"schema": _TEXT} for kind in ("text/plain", "application/openmetrics-text")}
