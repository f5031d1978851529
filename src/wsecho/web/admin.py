"""The admin endpoint as HTTP: who may ask, which operation it is, how the answer is written.

Rules of this file, in the order in which a request meets them:

- the Host header must name this server. A name that an attacker points at 127.0.0.1 is of the same origin as
  the attacker's page, and no other check would see the difference (DNS rebinding);
- a web page of another origin gets 403, whatever it asks for: by its Origin, or, where a browser sends none,
  by Sec-Fetch-Site. What changes something is PUT, DELETE, or has a JSON body, which no form can send;
- whoever has no token gets 401, except for pages, which hold nothing, and for health, which supervisors and
  load balancers ask for that have no place for a secret; it tells them one word;
- every error is JSON with one line.

A page is what `pages` answers, as in `wsecho.web.page`. This file knows neither sockets nor the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import parse_qsl

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from wsecho.policy.hosts import AllowedHosts
from wsecho.policy.http import HttpAnswer
from wsecho.policy.origins import AllowedOrigins, OriginRequest
from wsecho.policy.text import escape_peer_text
from wsecho.web.api import Answer, Api, Refused
from wsecho.web.beneath import LARGEST_BODY, BoundedRequest
from wsecho.web.interfaces import IOverseer
from wsecho.web.operations import Operation, find
from wsecho.web.stream import SampleStream

__all__ = ["AdminResource", "no_pages"]

_log = Logger("wsecho")
_JSON: Final = "application/json"
_MOST_PARAMETERS: Final = 20

_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


def no_pages(path: str) -> HttpAnswer | None:
    """There are none."""
    return None


class AdminResource(Resource):
    """Answers every request.

    :param overseer: of the server that it is about
    :param now: the time, aware
    :param token: what a client has to show; None when nobody has to
    :param hosts: the Host headers that are served
    :param pages: from the path of a GET to its page, None when there is none
    """

    isLeaf = True

    def __init__(
        self,
        overseer: IOverseer,
        now: Callable[[], datetime],
        *,
        token: str | None,
        hosts: AllowedHosts,
        pages: Callable[[str], HttpAnswer | None] = no_pages,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._overseer = overseer
        self._api = Api(overseer, now, has_token=token is not None)
        self._token = None if token is None else token.encode("ascii")
        self.hosts = hosts
        # Not those of --allow-origin: they are the service's users.
        self._origins = AllowedOrigins()
        self._pages = pages

    def render(self, request: BoundedRequest) -> Any:
        """Answer; never raises."""
        # Some answers take their time, and whoever asked may have left meanwhile.
        has_left: list[Failure] = []
        request.notifyFinish().addErrback(has_left.append)
        Deferred.fromCoroutine(self._respond(request, has_left)).addErrback(
            lambda failure: _log.failure("admin: an answer failed", failure)
        )
        return NOT_DONE_YET

    async def _respond(self, request: BoundedRequest, has_left: Sequence[Failure]) -> None:
        headers: tuple[tuple[str, str], ...] = ()
        try:
            answer = await self._answer(request)
        except _RefusedWithHeader as refused:
            answer = Answer(refused.status, {"error": str(refused)})
            headers = (refused.header,)
        except Refused as refused:
            answer = Answer(refused.status, {"error": str(refused)})
        except Exception:
            _log.failure("admin: a request failed")
            answer = Answer(500, {"error": "internal error; the log has more"})
        if not has_left:
            _send(request, answer, headers)

    def end(self) -> None:
        """End the answers that would go on."""
        self._api.watchers.end()

    async def _answer(self, request: BoundedRequest) -> Answer | HttpAnswer:
        self._check_place(request)
        path = request.path.decode("ascii", "replace")
        method = request.method.decode("ascii", "replace")
        try:
            found = find(path)
        except ValueError:
            raise Refused(400, "the path is not UTF-8") from None
        page = None if found else self._pages(path)
        if page is None and not any(not one.needs_token for one, _ in found.values()):
            self._check_token(request)
        if page is not None:
            if method not in ("GET", "HEAD"):
                raise _not_allowed(["GET"])
            return page
        if not found:
            raise Refused(404, "nothing is served at this path; /api/openapi.json lists what is")
        operation, texts = found.get("GET" if method == "HEAD" else method, (None, {}))
        if operation is None:
            raise _not_allowed(found)
        arguments = _arguments(operation, texts, request.query)
        body = _body(request) if operation.body else None
        accept = _header(request, b"accept") or ""
        await self._overseer.gather(connections=operation.about_connections)
        answer = self._api.do(operation, arguments, body, accept)
        return await answer if isinstance(answer, Deferred) else answer

    def _check_place(self, request: BoundedRequest) -> None:
        host = _header(request, b"host")
        if host is None or not self.hosts.allows(host):
            raise Refused(421, "the Host header names no host that is served here")
        origin = _header(request, b"origin")
        if origin is not None and not self._origins(OriginRequest(origin, host, "", "")):
            raise Refused(403, "web pages of another origin are not served")
        if _header(request, b"sec-fetch-site") in ("cross-site", "same-site"):
            # Somebody who follows a link is the user, not the page that had it.
            is_link = _header(request, b"sec-fetch-mode") == "navigate" and request.method == b"GET"
            if not is_link:
                raise Refused(403, "web pages of another origin are not served")

    def _check_token(self, request: BoundedRequest) -> None:
        if self._token is None:
            return
        scheme, _, shown = (_header(request, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(
            shown.strip().encode("utf-8", "replace"), self._token
        ):
            raise _RefusedWithHeader(
                401,
                "the token of --admin-token-file is needed: Authorization: Bearer TOKEN",
                ("WWW-Authenticate", 'Bearer realm="wsecho"'),
            )


class _RefusedWithHeader(Refused):
    def __init__(self, status: int, line: str, header: tuple[str, str]) -> None:
        super().__init__(status, line)
        self.header = header


def _not_allowed(methods: Any) -> Refused:
    allowed = list(methods)
    if "GET" in allowed:
        allowed.insert(allowed.index("GET") + 1, "HEAD")
    return _RefusedWithHeader(405, f"accepted are {', '.join(allowed)}", ("Allow", ", ".join(allowed)))


def _header(request: BoundedRequest, name: bytes) -> str | None:
    """The value of a header; None when there is none.

    :raises Refused: there are several, of which another reader might take another one
    """
    values = request.requestHeaders.getRawHeaders(name) or []
    if len(values) > 1:
        raise Refused(400, f"the header {name.decode()} is there more than once")
    return values[0].decode("latin-1") if values else None


def _arguments(operation: Operation, texts: Mapping[str, str], query: bytes) -> Mapping[str, Any]:
    """The parameters of an operation, read."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except UnicodeDecodeError:
        raise Refused(400, "the query is not UTF-8, percent-encoded") from None
    except ValueError:
        raise Refused(400, f"accepted are {_MOST_PARAMETERS} parameters at most") from None
    given = dict(texts)
    known = {parameter.name for parameter in operation.parameters} - set(texts)
    for name, value in pairs:
        if name not in known:
            accepted = ", ".join(sorted(known)) or "none"
            raise Refused(400, f'unknown parameter "{escape_peer_text(name, 80)}"; accepted: {accepted}')
        if name in given:
            raise Refused(400, f"{name}: accepted once")
        given[name] = value
    arguments: dict[str, Any] = {}
    for parameter in operation.parameters:
        text = given.get(parameter.name)
        try:
            arguments[parameter.name] = parameter.default if text is None else parameter.read(text)
        except ValueError as error:
            raise Refused(400, str(error)) from None
    return arguments


def _body(request: BoundedRequest) -> Any:
    """The JSON value of a body."""
    if request.is_too_large:
        raise Refused(413, f"the body has more than {LARGEST_BODY} bytes")
    content_type = (_header(request, b"content-type") or "").partition(";")[0].strip().lower()
    if content_type != _JSON:
        raise Refused(415, f"the body must be {_JSON}, and Content-Type say so")
    try:
        return json.loads(request.content.read().decode("utf-8"))
    # A number may have too many digits, and lists may be nested too deep.
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON") from None


def _send(request: BoundedRequest, answer: Answer | HttpAnswer, more: tuple[tuple[str, str], ...]) -> None:
    if isinstance(answer, HttpAnswer):
        _write(request, answer.status, answer.headers, answer.body)
    elif isinstance(answer.content, SampleStream):
        _write_head(request, answer.status, (*_HEADERS, ("Content-Type", answer.content_type)))
        if request.method == b"HEAD":
            request.finish()  # type: ignore[no-untyped-call]
        else:
            answer.content.begin(request)
    elif answer.content_type:
        _write(request, answer.status, (*_HEADERS, ("Content-Type", answer.content_type)), answer.content)
    else:
        body = json.dumps(answer.content, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        _write(request, answer.status, (*_HEADERS, *more, ("Content-Type", _JSON)), body)


def _write(request: BoundedRequest, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    _write_head(request, status, (*headers, ("Content-Length", str(len(body)))))
    # Of a HEAD, Twisted writes the head only.
    request.write(body)  # type: ignore[no-untyped-call]
    request.finish()  # type: ignore[no-untyped-call]


def _write_head(request: BoundedRequest, status: int, headers: tuple[tuple[str, str], ...]) -> None:
    request.setResponseCode(status)
    # Twisted's own, with its version.
    request.responseHeaders.removeHeader(b"server")
    for name, value in headers:
        request.responseHeaders.setRawHeaders(name, [value])
