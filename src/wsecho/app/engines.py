"""Which engine a URL names.

Rules of this file: an engine is imported when it is used, since what it needs may not be installed. What is
wrong is one line, in which no password stands.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from wsecho.hub.memory import MemoryEngine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsecho.hub.engine import Retentions

__all__ = ["MODULES", "check_engine", "make_engine"]

MEMORY: Final = "memory:"

#: By scheme of the URL, the module whose ``engine_from_url`` makes the engine, and the extra that it needs.
MODULES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "redis": ("wsecho.engines.redis", "redis"),
        "rediss": ("wsecho.engines.redis", "redis"),
    }
)


def check_engine(url: str) -> None:
    """Judge the scheme of a URL.

    :raises ValueError: there is no such engine
    """
    scheme, separator, _ = url.partition("://")
    if url != MEMORY and not (separator and scheme in MODULES):
        schemes = " or ".join(f"{name}://" for name in MODULES)
        raise ValueError(f"accepted is {MEMORY} or {schemes} with a host")


def make_engine(url: str, reactor: Any, *, node: str, retention: Retentions, max_payload: int) -> Any:
    """Return the engine that a URL names, an ``IEngine`` that has not started.

    :param node: the name of this process among those that share the engine
    :param retention: what each channel keeps
    :param max_payload: bytes of a message at most; 0: no limit
    :raises ValueError: the URL is wrong, or what the engine needs is not installed
    """
    check_engine(url)
    if url == MEMORY:
        return MemoryEngine(retention, reactor)
    module_name, extra = MODULES[url.partition("://")[0]]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"needs what is not installed ({error.name}); accepted with: pip install 'wsecho[{extra}]'"
        ) from None
    return module.engine_from_url(
        url, reactor=reactor, node=node, retention=retention, max_payload=max_payload
    )
