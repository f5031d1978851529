"""The URL of a Redis: ``redis://[user:password@]host[:port][/database][?setting=value]``, or ``rediss://``
for TLS.

Rules of this file: a URL is read strictly, and a refusal never quotes it, because it may hold a password.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from wsecho.policy.quantities import parse_duration

__all__ = ["DEFAULT_PORT", "RedisAddress", "parse_redis_url"]

DEFAULT_PORT = 6379

_SHORTEST_HEARTBEAT, _LONGEST_HEARTBEAT = 0.05, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where a Redis is, how to enter, and how patient to be. Its text has no password."""

    host: str
    port: int = DEFAULT_PORT
    database: int = 0
    is_tls: bool = False
    user: str = ""
    password: str = ""
    ca: str = ""
    """A file of certificates to trust instead of the system's; only with TLS."""
    heartbeat: float = 5.0
    """Seconds between signs of life. A link that gives none is over before two have passed."""
    wait: float = 5.0
    """Seconds after which a publication that Redis has not taken fails."""

    def __str__(self) -> str:
        scheme = "rediss" if self.is_tls else "redis"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/{self.database}"

    def __repr__(self) -> str:
        # The one that dataclasses make would show the password in any traceback or log line.
        return f"<RedisAddress {self}>"


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if not _SHORTEST_HEARTBEAT <= seconds <= _LONGEST_HEARTBEAT:
        raise ValueError
    return seconds


def _file(text: str) -> str:
    if not text:
        raise ValueError
    return text


_BETWEEN = "a duration between 50ms and 5m"
_SETTINGS: dict[str, tuple[Callable[[str], Any], str]] = {
    "ca": (_file, "a file of certificates in PEM"),
    "heartbeat": (_duration, _BETWEEN),
    "wait": (_duration, _BETWEEN),
}


def parse_redis_url(url: str) -> RedisAddress:
    """Read the URL of a Redis.

    Raises:
        ValueError: one line that says what is accepted, without a word of the URL's user and password.
    """
    if "#" in url:
        raise ValueError("redis: a # in the URL begins a fragment, which means nothing here; write it as %23")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("redis: the host or the port of the URL cannot be read") from None
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("redis: the scheme is redis or rediss (with TLS)")
    if not parts.hostname:
        raise ValueError("redis: the URL needs a host, as in redis://127.0.0.1:6379/0")
    if port == 0:
        raise ValueError("redis: port 0 is none")
    is_tls = parts.scheme == "rediss"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user and not password:
        raise ValueError("redis: a user without a password; write user:password@ or :password@")
    return RedisAddress(
        host=parts.hostname,
        port=DEFAULT_PORT if port is None else port,
        database=_database(parts),
        is_tls=is_tls,
        user=user,
        password=password,
        **_settings(parts.query, is_tls),
    )


def _database(parts: SplitResult) -> int:
    text = parts.path.removeprefix("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ValueError("redis: the path of the URL is the number of a database, such as /0")
    return int(text)


def _settings(query: str, is_tls: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError("redis: what follows the ? of the URL is setting=value, separated by &") from None
    for name, value in pairs:
        row = _SETTINGS.get(name)
        if row is None:
            raise ValueError(f"redis: the settings in a URL are {', '.join(_SETTINGS)}")
        if name in settings:
            raise ValueError(f"redis: {name} stands twice in the URL")
        read, accepted = row
        try:
            settings[name] = read(value)
        except ValueError:
            raise ValueError(f"redis: {name} in the URL is {accepted}") from None
    if "ca" in settings and not is_tls:
        raise ValueError("redis: ca in the URL is for rediss:// alone")
    return settings
