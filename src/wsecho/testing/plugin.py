"""Fixtures for pytest, which finds this module by its entry point: `wsecho`, `wsecho_tls`, `wsecho_server`.

Rules of this file: it is imported by each run of pytest in an environment that has wsecho, so it changes
nothing for tests that do not name a fixture. Nothing else of wsecho imports pytest, or this file.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from wsecho.testing.process import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["pytest_addoption", "wsecho", "wsecho_server", "wsecho_tls"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tell pytest what may stand in its configuration."""
    parser.addini(
        "wsecho_options", "Options of the command line for the servers of all fixtures.", type="args"
    )
    parser.addini(
        "wsecho_scope",
        "How long the servers of wsecho and wsecho_tls run: session, package, module, class or function.",
        default="session",
    )


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getini("wsecho_scope")


@pytest.fixture(scope=_scope)
def wsecho(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A running wsecho that speaks ws."""
    with Server(options=pytestconfig.getini("wsecho_options")) as server:
        yield server


@pytest.fixture(scope=_scope)
def wsecho_tls(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A running wsecho that speaks wss."""
    with Server(tls=True, options=pytestconfig.getini("wsecho_options")) as server:
        yield server


@pytest.fixture
def wsecho_server(pytestconfig: pytest.Config) -> Iterator[Callable[..., Server]]:
    """Starts a server with options of the test's own: the arguments are those of `Server`, and it runs until
    the test has ended."""
    with ExitStack() as stack:

        def start(*, options: Any = (), **more: Any) -> Server:
            both = [*pytestconfig.getini("wsecho_options"), *options]
            return stack.enter_context(Server(options=both, **more))

        yield start
