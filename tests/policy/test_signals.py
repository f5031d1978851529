"""Tests for wsecho.policy.signals."""

import gc
import weakref
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.signals import BoundSignal, Signal


class Lamp:
    """Has signals."""

    switched = Signal[[bool]]()
    broke = Signal[[]]()
    dimmed = Signal[[int, str]]()


class Slotted:
    """Has a signal, and no instance dictionary."""

    __slots__ = ("_signals",)

    changed = Signal[[int]]()


if TYPE_CHECKING:
    # mypy refuses slots and emissions of other types: it must find an error in each of these lines.
    Lamp().dimmed.connect(lambda level: None)  # type: ignore[arg-type, misc]
    Lamp().switched.connect("".join)  # type: ignore[arg-type]
    Lamp().dimmed.emit("bright", 3)  # type: ignore[arg-type]
    Lamp().broke.emit(True)  # type: ignore[call-arg]


class Watcher:
    """Has a method to connect."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def see(self, value: object) -> None:
        """A slot."""
        self.seen.append(value)


class ConnectTests(SynchronousTestCase):
    """Connecting and disconnecting."""

    def setUp(self) -> None:
        self.lamp = Lamp()
        self.seen: list[Any] = []

    def test_slots_in_order(self) -> None:
        """Slots are called in the order of connection, with the arguments of the emission."""
        self.lamp.dimmed.connect(lambda level, why: self.seen.append(("first", level, why)))
        self.lamp.dimmed.connect(lambda level, why: self.seen.append(("second", level, why)))
        self.lamp.dimmed.emit(3, "night")
        self.assertEqual(self.seen, [("first", 3, "night"), ("second", 3, "night")])

    def test_one_object_only(self) -> None:
        """Slots of one object hear nothing of another, nor of another signal."""
        other = Lamp()
        self.lamp.switched.connect(self.seen.append)
        other.switched.emit(True)
        self.lamp.broke.emit()
        self.assertEqual(self.seen, [])

    def test_connected_twice(self) -> None:
        """A slot that is connected twice is called twice, and taken off once at a time."""
        self.lamp.switched.connect(self.seen.append)
        self.lamp.switched.connect(self.seen.append)
        self.lamp.switched.emit(True)
        self.assertEqual(self.seen, [True, True])
        self.lamp.switched.disconnect(self.seen.append)
        self.lamp.switched.emit(False)
        self.assertEqual(self.seen, [True, True, False])

    def test_disconnect_all(self) -> None:
        """Without an argument, disconnect takes all slots off."""
        self.lamp.switched.connect(self.seen.append)
        self.lamp.switched.connect(print)
        self.lamp.switched.disconnect()
        self.lamp.switched.emit(True)
        self.assertEqual((self.seen, len(self.lamp.switched)), ([], 0))

    def test_disconnect_a_stranger(self) -> None:
        """A slot that is not connected cannot be taken off; the message names it and the signal."""
        error = self.assertRaises(ValueError, self.lamp.switched.disconnect, self.seen.append)
        self.assertRegex(str(error), "append.* is not connected to switched")

    def test_not_callable(self) -> None:
        """What cannot be called cannot be connected."""
        wrong: Any = "see"
        error = self.assertRaises(TypeError, self.lamp.switched.connect, wrong)
        self.assertEqual(str(error), "slot for switched must be callable, not str")

    def test_early_reference(self) -> None:
        """A signal that was fetched before anybody connected knows those who connect later, and they it."""
        early = self.lamp.switched
        self.lamp.switched.connect(self.seen.append)
        early.connect(lambda value: self.seen.append(not value))
        self.assertEqual((len(early), bool(early)), (2, True))
        early.emit(True)
        self.assertEqual(self.seen, [True, False])
        early.disconnect()
        self.assertFalse(self.lamp.switched)

    def test_truth(self) -> None:
        """A signal is true, and has a length, as long as somebody listens."""
        self.assertEqual((bool(self.lamp.switched), len(self.lamp.switched)), (False, 0))
        self.lamp.switched.connect(self.seen.append)
        self.assertEqual((bool(self.lamp.switched), len(self.lamp.switched)), (True, 1))

    def test_cannot_be_set(self) -> None:
        """To assign to a signal, a likely slip for connect, is refused with the way to do it."""
        lamp: Any = self.lamp
        error = self.assertRaises(AttributeError, setattr, lamp, "switched", print)
        self.assertEqual(str(error), "switched is a signal: use its connect()")

    def test_of_the_class(self) -> None:
        """The class gives the declaration, so that documentation and tests find it."""
        self.assertIsInstance(Lamp.switched, Signal)
        self.assertIsInstance(self.lamp.switched, BoundSignal)

    def test_without_dictionary(self) -> None:
        """A class with slots needs one for its signals."""
        slotted = Slotted()
        slotted.changed.connect(self.seen.append)
        slotted.changed.emit(1)
        self.assertEqual(self.seen, [1])


class WeakTests(SynchronousTestCase):
    """What is held, and what is not."""

    def test_methods_are_weak(self) -> None:
        """Connecting a method keeps its object not alive: once it is gone, so is the slot."""
        lamp, watcher = Lamp(), Watcher()
        lamp.switched.connect(watcher.see)
        lamp.switched.emit(True)
        self.assertEqual(watcher.seen, [True])
        gone = weakref.ref(watcher)
        del watcher
        self.assertIsNone(gone())
        self.assertEqual((len(lamp.switched), bool(lamp.switched)), (0, False))
        lamp.switched.emit(False)
        lamp.switched.ask(False)

    def test_dead_slots_are_swept(self) -> None:
        """The next connection clears away what is gone, so that slots do not pile up."""
        lamp = Lamp()
        for _ in range(3):
            watcher = Watcher()
            lamp.switched.connect(watcher.see)
        self.assertEqual(len(lamp.switched._slots), 1)

    def test_functions_are_held(self) -> None:
        """A function that nobody else holds stays connected."""
        lamp, seen = Lamp(), list[bool]()
        lamp.switched.connect(lambda value: seen.append(not value))
        gc.collect()
        lamp.switched.emit(True)
        self.assertEqual(seen, [False])

    def test_object_is_freed(self) -> None:
        """An object with connected signals is freed at once, without the garbage collector."""
        lamp = Lamp()
        early = lamp.broke
        lamp.switched.connect(print)
        lamp.broke.connect(print)
        gone = weakref.ref(lamp)
        gc.disable()
        self.addCleanup(gc.enable)
        del lamp, early
        self.assertIsNone(gone())

    def test_nobody_listens(self) -> None:
        """An emission that nobody listens to leaves nothing behind on the object."""
        lamp = Lamp()
        lamp.switched.emit(True)
        self.assertEqual(vars(lamp), {})


class EmitTests(SynchronousTestCase):
    """What happens during an emission."""

    def setUp(self) -> None:
        self.lamp = Lamp()
        self.seen: list[Any] = []
        self.events: list[LogEvent] = []
        # mypy takes no plain callable for an ILogObserver.
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def assertLogged(self, kind: type[Exception]) -> None:
        """One failure was logged, and names the signal."""
        self.assertEqual([failure.type for failure in self.flushLoggedErrors()], [kind])
        self.assertEqual([event["signal"] for event in self.events if "signal" in event], ["switched"])

    def test_a_slot_that_raises(self) -> None:
        """It is logged, and harms neither the emitter nor the later slots."""
        self.lamp.switched.connect(lambda value: 1 // 0)
        self.lamp.switched.connect(self.seen.append)
        self.lamp.switched.emit(True)
        self.assertEqual(self.seen, [True])
        self.assertLogged(ZeroDivisionError)

    def test_connected_meanwhile(self) -> None:
        """A slot that another slot connects is called from the next emission on."""
        self.lamp.switched.connect(lambda value: self.lamp.switched.connect(self.seen.append))
        self.lamp.switched.emit(True)
        self.assertEqual(self.seen, [])
        self.lamp.switched.emit(False)
        self.assertEqual(self.seen, [False])

    def test_disconnected_meanwhile(self) -> None:
        """A slot that another slot takes off is not called any more."""
        self.lamp.switched.connect(lambda value: self.lamp.switched.disconnect(self.seen.append))
        self.lamp.switched.connect(self.seen.append)
        self.lamp.switched.emit(True)
        self.assertEqual(self.seen, [])

    def test_coroutines(self) -> None:
        """A coroutine function is run, and what it raises later is logged."""
        turn: Deferred[None] = Deferred()

        async def slot(value: bool) -> None:
            await turn
            self.seen.append(value)
            raise LookupError

        self.lamp.switched.connect(slot)
        self.lamp.switched.emit(True)
        self.assertEqual(self.seen, [])
        turn.callback(None)
        self.assertEqual(self.seen, [True])
        self.assertLogged(LookupError)


class AskTests(SynchronousTestCase):
    """Questions: emissions whose slots are waited for."""

    def setUp(self) -> None:
        self.lamp = Lamp()
        self.turn: Deferred[None] = Deferred()
        self.seen: list[Any] = []

    async def wait(self, value: bool) -> None:
        """A slot that takes its time."""
        try:
            await self.turn
        finally:
            self.seen.append(value)

    def test_nobody_answers(self) -> None:
        """Without a slot, the answer is there at once, and no slot has failed."""
        self.assertIs(self.successResultOf(self.lamp.switched.ask(True)), True)

    def test_waits(self) -> None:
        """It waits for coroutine functions and for Deferreds."""
        later: Deferred[None] = Deferred()
        self.lamp.switched.connect(self.wait)
        self.lamp.switched.connect(lambda value: later)
        answer = self.lamp.switched.ask(True)
        self.turn.callback(None)
        self.assertNoResult(answer)
        later.callback(None)
        self.assertIs(self.successResultOf(answer), True)
        self.assertEqual(self.seen, [True])

    def test_a_slot_that_raises(self) -> None:
        """It is logged, the other slots are asked all the same, and the answer says that one failed."""
        self.lamp.switched.connect(lambda value: 1 // 0)
        self.lamp.switched.connect(self.seen.append)
        self.assertIs(self.successResultOf(self.lamp.switched.ask(True)), False)
        self.assertEqual(self.seen, [True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_coroutine_that_raises(self) -> None:
        """Likewise when it raises later."""
        self.lamp.switched.connect(self.wait)
        answer = self.lamp.switched.ask(True)
        self.turn.errback(LookupError())
        self.assertIs(self.successResultOf(answer), False)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_cancelled(self) -> None:
        """Who cancels the question cancels the slots that are waited for, and this is no failure to log."""
        cancelled = []

        async def slot(value: bool) -> None:
            try:
                await self.turn
            except CancelledError:
                cancelled.append(value)
                raise

        self.lamp.switched.connect(slot)
        answer = self.lamp.switched.ask(True)
        answer.cancel()
        self.assertEqual(cancelled, [True])
        self.failureResultOf(answer, CancelledError)

    def test_taken_off_meanwhile(self) -> None:
        """A slot that another slot takes off is not asked any more."""
        self.lamp.switched.connect(lambda value: self.lamp.switched.disconnect(self.seen.append))
        self.lamp.switched.connect(self.seen.append)
        self.assertIs(self.successResultOf(self.lamp.switched.ask(True)), True)
        self.assertEqual(self.seen, [])
