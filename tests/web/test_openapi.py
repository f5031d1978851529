"""Tests for `wsecho.web.openapi`: the description is of the same table, and answers are as it says."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.facts import ConnectionFacts
from wsecho.web.openapi import SCHEMAS, description
from wsecho.web.operations import OPERATIONS

from .overseen import END, TOKEN, Admin, facts


def differences(value: Any, schema: Any) -> list[str]:
    """Where a JSON value differs from a schema, as far as the description uses JSON Schema."""
    if "$ref" in schema:
        return differences(value, SCHEMAS[schema["$ref"].rpartition("/")[2]])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    kind = "null" if value is None else names[type(value)]
    if kind not in kinds and not (kind == "integer" and "number" in kinds):
        return [f"{value!r} is no {kinds}"]
    if isinstance(value, dict) and "properties" in schema:
        found = (
            [] if set(value) == set(schema["required"]) else [f"{sorted(value)} are not {schema['required']}"]
        )
        return found + [
            line for name, part in schema["properties"].items() for line in differences(value.get(name), part)
        ]
    if isinstance(value, list) and "items" in schema:
        return [line for item in value for line in differences(item, schema["items"])]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{value!r} is none of {schema['enum']}"]
    return []


class DescriptionTests(SynchronousTestCase):
    """The description."""

    def setUp(self) -> None:
        self.described = description("1.2.3", has_token=False)

    def test_is_served(self) -> None:
        """It is what the endpoint serves, as JSON."""
        self.assertEqual(Admin().get("/api/openapi.json").value, json.loads(json.dumps(self.described)))

    def test_token(self) -> None:
        """With a token, everything is described as needing it, but health; without one, nothing is."""
        self.assertEqual(self.described["security"], [])
        described = Admin(token=TOKEN).get("/api/openapi.json", f"Authorization: Bearer {TOKEN}").value
        self.assertEqual(described["security"], [{"token": []}])
        self.assertEqual(
            {
                path
                for path, methods in described["paths"].items()
                if methods.get("get", {}).get("security") == []
            },
            {"/health/live", "/health/ready"},
        )

    def test_every_operation(self) -> None:
        """Each operation is described, with its parameters, its statuses and what all may answer."""
        described = {
            (method.upper(), path): operation
            for path, methods in self.described["paths"].items()
            for method, operation in methods.items()
        }
        self.assertEqual(set(described), {(one.method, one.path) for one in OPERATIONS})
        for one in OPERATIONS:
            operation = described[one.method, one.path]
            self.assertEqual(
                [parameter["name"] for parameter in operation.get("parameters", [])],
                [parameter.name for parameter in one.parameters],
            )
            expected = {str(status) for status in one.answers} | {"400", "403", "421"}
            expected |= ({"401"} if one.needs_token else set()) | ({"413", "415"} if one.body else set())
            self.assertEqual(set(operation["responses"]), expected)

    def test_references(self) -> None:
        """Each schema that is referred to is there, and none is idle."""
        text = json.dumps(self.described)
        self.assertEqual({name for name in SCHEMAS if f'"#/components/schemas/{name}"' in text}, set(SCHEMAS))

    def test_answers(self) -> None:
        """Answers are as described: no field is missing, and none is told that is not described."""
        admin = Admin()
        admin.overseer.open, admin.overseer.members = [facts(1, channel="a")], {"a": 1}
        admin.overseer.certificates = [("localhost", END)]
        bodies: dict[str, Any] = {
            "Accepting": {"accepting": True},
            "Listening": {"listening": True},
            "Message": {"channel": "a", "text": "x"},
        }
        for one in (one for one in OPERATIONS if one.name != "samples"):
            path = one.path.replace("{id}", "1")
            answer = (
                admin.send(one.method, path, bodies[one.body]) if one.body else admin.ask(one.method, path)
            )
            _, schema = one.answers[answer.status]
            if schema:
                self.assertEqual((one.name, differences(answer.value, SCHEMAS[schema])), (one.name, []))
        for answer in (Admin(token=TOKEN).get("/metrics"), admin.get("/nothing")):
            self.assertEqual(differences(answer.value, SCHEMAS["Error"]), [])

    def test_sample(self) -> None:
        """A line of the stream is as described."""
        admin = Admin()
        channel, transport = admin.connect()
        channel.dataReceived(b"GET /api/messages?count=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        admin.overseer.pass_message("hello")
        (line,) = [line for line in transport.value().splitlines() if line.startswith(b"{")]
        self.assertEqual(differences(json.loads(line), SCHEMAS["Sample"]), [])

    def test_connection(self) -> None:
        """Every fact of a connection is told."""
        facts_told = {field.name for field in fields(ConnectionFacts)} - {"traffic", "seconds_open"}
        self.assertEqual(facts_told - set(SCHEMAS["Connection"]["properties"]), set())
