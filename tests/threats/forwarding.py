"""Threats by peers that claim to be proxies."""

from __future__ import annotations

from tests.threats.scenario import Outcome, Stage, scenario
from tests.threats.subjects import TUNED, UNTOUCHED
from tests.wire.harness import handshake

__all__: list[str] = []

PROXY, CLIENT, STRANGER, FORGED = "10.0.0.1", "203.0.113.7", "198.51.100.1", "192.0.2.1"


def _judge(seen: dict[str, str]) -> Outcome:
    """By whom the program found behind the proxy, and behind somebody who is none."""
    faults = []
    if seen[PROXY] != CLIENT:
        faults.append("the proxy's client is not seen")
    if seen[STRANGER] != STRANGER:
        faults.append("anybody is believed")
    return Outcome(not faults, "; ".join(faults) or "the proxy is believed, nobody else")


@scenario(
    "X-Forwarded-For with an invented entry, by way of a proxy and without",
    "RFC 7239 section 8.1; CWE-348",
    falls=[UNTOUCHED, TUNED],
)
def forged_forwarding(stage: Stage) -> Outcome:
    seen = {}
    for host, added in ((PROXY, f", {CLIENT}"), (STRANGER, "")):
        visitor = stage.visitor(host=host, proxies=[PROXY])
        visitor.send(handshake("/", f"X-Forwarded-For: {FORGED}{added}"))
        seen[host] = stage.subject.peer(visitor.protocol)
    return _judge(seen)


@scenario(
    "A PROXY header with an invented address, from anybody",
    "PROXY protocol, section 2: only from known addresses",
    falls=[UNTOUCHED, TUNED],
)
def forged_proxy_header(stage: Stage) -> Outcome:
    seen = {}
    for host, named in ((PROXY, CLIENT), (STRANGER, FORGED)):
        factory = stage.subject.taking_proxy_headers(stage.factory(proxies=[PROXY]))
        visitor = stage.visitor(factory, host)
        visitor.send(f"PROXY TCP4 {named} 192.0.2.9 4711 443\r\n".encode() + handshake())
        seen[host] = stage.subject.peer(getattr(visitor.protocol, "wrappedProtocol", visitor.protocol))
    return _judge(seen)
