"""Tests for `wsecho.app.process`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from wsecho.app.process import FAILED, Process, exit_at_once

from .logs import logged_lines


class FakeReactor:
    """Records what it is told; what a signal hands over waits in `calls`."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.events: list[str] = []

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls.append(lambda: function(*arguments))

    def stop(self) -> None:
        if "stop" in self.events:
            raise ReactorNotRunning
        self.events.append("stop")

    def crash(self) -> None:
        self.events.append("crash")


class ProcessTests(SynchronousTestCase):
    """Signals and exit status."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.handlers: dict[int, Any] = {}
        self.at_exit: list[tuple[Any, ...]] = []
        self.process = Process(
            self.reactor,
            set_handler=self.handlers.__setitem__,
            at_exit=lambda *call: self.at_exit.append(call),
        )
        # An ExitStack, because some tests begin anew.
        stack = ExitStack()
        self.lines = stack.enter_context(logged_lines())
        self.addCleanup(stack.close)
        self.reloads = 0

    def reload(self) -> None:
        """Count."""
        self.reloads += 1

    def send(self, number: int) -> None:
        """Send a signal and let the reactor take its turn."""
        self.handlers[number](number, None)
        for call in self.reactor.calls:
            call()
        self.reactor.calls = []

    def test_no_handler_before(self) -> None:
        """No signal is handled before it is asked for, since a reactor takes them when it begins to run."""
        self.assertEqual(self.handlers, {})
        self.process.handle_signals(self.reload)
        self.assertEqual(set(self.handlers), {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

    def test_handlers_only_hand_over(self) -> None:
        """A handler does nothing in the moment of the signal."""
        self.process.handle_signals(self.reload)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.handlers[number](number, None)
        self.assertEqual((self.reactor.events, self.lines), ([], []))
        self.assertEqual(len(self.reactor.calls), 3)

    def test_first_signal(self) -> None:
        """The first SIGTERM or SIGINT stops the reactor, and the exit status stays what it is."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.setUp()
            self.process.handle_signals(self.reload)
            self.send(number)
            self.assertEqual((self.reactor.events, self.at_exit), (["stop"], []))
            name = signal.Signals(number).name
            self.assertEqual(self.lines, [f"{name}: closing all connections; a second signal ends at once"])

    def test_gradual(self) -> None:
        """Only SIGTERM asks for an end of one connection after the other; the first signal decides."""
        for numbers, expected in (
            ([], False),
            ([signal.SIGTERM], True),
            ([signal.SIGINT], False),
            ([signal.SIGTERM, signal.SIGINT], True),
            ([signal.SIGINT, signal.SIGTERM], False),
        ):
            self.setUp()
            self.process.handle_signals(self.reload)
            for number in numbers:
                self.send(number)
            self.assertIs(self.process.is_gradual, expected, numbers)

    def test_gradual_before_the_stop(self) -> None:
        """When the reactor is told to stop, it is known already how: services may ask in the same call."""
        seen: list[bool] = []
        self.patch(self.reactor, "stop", lambda: seen.append(self.process.is_gradual))
        self.process.handle_signals(self.reload)
        self.send(signal.SIGTERM)
        self.assertEqual(seen, [True])

    def test_second_signal(self) -> None:
        """The second signal ends at once, with a status that says so; a third is left to the system."""
        self.process.handle_signals(self.reload)
        self.send(signal.SIGTERM)
        self.send(signal.SIGINT)
        self.assertEqual(self.reactor.events, ["stop", "crash"])
        self.assertEqual(self.at_exit, [(exit_at_once, FAILED)])
        self.assertEqual(self.handlers[signal.SIGTERM], signal.SIG_DFL)
        self.assertEqual(self.handlers[signal.SIGINT], signal.SIG_DFL)
        self.assertEqual(self.lines[-1], "SIGINT: ending at once")

    def test_signal_while_stopping(self) -> None:
        """A signal to a reactor that somebody else has stopped is no error."""
        self.process.handle_signals(self.reload)
        self.reactor.stop()
        self.send(signal.SIGTERM)
        self.assertEqual(self.reactor.events, ["stop"])

    def test_hangup(self) -> None:
        """SIGHUP asks to reload, each time, and ends nothing."""
        self.process.handle_signals(self.reload)
        self.send(signal.SIGHUP)
        self.send(signal.SIGHUP)
        self.assertEqual(self.reactor.events, [])
        self.assertEqual(self.reloads, 2)

    def test_failure(self) -> None:
        """A failure stops the reactor and decides the exit status."""
        self.process.fail()
        self.assertEqual(self.reactor.events, ["stop"])
        self.assertEqual(self.at_exit, [(exit_at_once, FAILED)])

    def test_exit_at_once(self) -> None:
        """What is written is flushed before the process ends."""
        events: list[Any] = []

        class Stream:
            def flush(self) -> None:
                events.append("flush")

        self.patch(sys, "stdout", Stream())
        self.patch(sys, "stderr", Stream())
        self.patch(os, "_exit", events.append)
        exit_at_once(3)
        self.assertEqual(events, ["flush", "flush", 3])
