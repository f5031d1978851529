"""Signals: what Qt's are to its classes, small and typed.

A class declares ``text_message_received = Signal[[str]]()``; its objects then have ``connect``,
``disconnect`` and ``emit`` on that name, checked by mypy. Rules of this file:

- a slot that raises is logged, and harms neither the emitter nor the other slots;
- bound methods are held weakly, as in PySide: connecting does not keep the receiver alive. Functions and
  lambdas are held;
- slots are called in the order of connection, with those that were connected when the emission began; a slot
  that is disconnected meanwhile is skipped;
- an emission that nobody listens to does no more than look into a dictionary;
- a slot may be a coroutine function. ``emit`` does not wait for it; ``ask``, for signals whose slots decide
  something, does.

Why not a library: psygnal skips the later slots when one raises and takes 1.4 kB for each object, blinker
keeps its receivers by sender in one place and knows no argument types.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, cast, overload

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["BoundSignal", "Signal"]

P = ParamSpec("P")

_log = Logger("wsecho")
_STORE = "_signals"


class Signal(Generic[P]):
    """Declares a signal of a class: ``closed = Signal[[]]()``, ``pong = Signal[[int, bytes]]()``.

    The objects need an instance dictionary, or a slot ``_signals``.
    """

    __slots__ = ("_name",)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Signal[P]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> BoundSignal[P]: ...

    def __get__(self, instance: object | None, owner: type) -> Signal[P] | BoundSignal[P]:
        if instance is None:
            return self
        store: dict[str, BoundSignal[Any]] | None = getattr(instance, _STORE, None)
        if store is not None and self._name in store:
            return cast("BoundSignal[P]", store[self._name])
        # Kept only once somebody connects: an object that nobody listens to stays small.
        return BoundSignal(instance, self._name)

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(f"{self._name} is a signal: use its connect()")


class _Slot:
    """A callable, held weakly when it is a bound method."""

    __slots__ = ("_function", "_is_weak", "is_connected")

    def __init__(self, function: Callable[..., object]) -> None:
        self.is_connected = True
        self._is_weak = inspect.ismethod(function)
        self._function: Any = weakref.WeakMethod(function) if self._is_weak else function

    def resolve(self) -> Callable[..., object] | None:
        """The callable; None when its receiver is gone."""
        function: Callable[..., object] | None = self._function() if self._is_weak else self._function
        return function


class BoundSignal(Generic[P]):
    """A signal of one object."""

    __slots__ = ("_instance", "_name", "_slots")

    def __init__(self, instance: object, name: str) -> None:
        # None once it is kept by its object: a reference back would keep both until the garbage collector
        # comes.
        self._instance: object | None = instance
        self._name = name
        self._slots: tuple[_Slot, ...] = ()

    def _kept(self) -> BoundSignal[Any]:
        """The one that the object keeps: this may have been fetched before anybody connected."""
        store: dict[str, BoundSignal[Any]] | None = getattr(self._instance, _STORE, None)
        return self if store is None else store.get(self._name, self)

    def __len__(self) -> int:
        """How many slots are connected."""
        return sum(slot.resolve() is not None for slot in self._kept()._slots)

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return any(slot.resolve() is not None for slot in self._kept()._slots)

    def connect(self, slot: Callable[P, object]) -> None:
        """Call ``slot`` at each emission; connected twice, it is called twice (as in Qt).

        A coroutine function is run, and what it raises is logged.

        :raises TypeError: when ``slot`` is not callable
        """
        if not callable(slot):
            raise TypeError(f"slot for {self._name} must be callable, not {type(slot).__name__}")
        kept = self._kept()
        if kept._instance is not None:
            store = getattr(kept._instance, _STORE, None)
            if store is None:
                store = {}
                setattr(kept._instance, _STORE, store)
            store[self._name] = kept
            kept._instance = None
        kept._slots = (*(one for one in kept._slots if one.resolve() is not None), _Slot(slot))

    def disconnect(self, slot: Callable[P, object] | None = None) -> None:
        """Take ``slot`` off, once; without an argument, all slots.

        :raises ValueError: when ``slot`` is not connected
        """
        kept = self._kept()
        gone = kept._slots if slot is None else [one for one in kept._slots if one.resolve() == slot][:1]
        if slot is not None and not gone:
            raise ValueError(f"{slot!r} is not connected to {self._name}")
        for one in gone:
            one.is_connected = False
        kept._slots = tuple(one for one in kept._slots if one.is_connected)

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every slot."""
        for slot in self._kept()._slots:
            if slot.is_connected and (function := slot.resolve()) is not None:
                try:
                    result = function(*args, **kwargs)
                except Exception:
                    self._log_failure()
                    continue
                if inspect.iscoroutine(result):
                    Deferred.fromCoroutine(result).addErrback(self._log_failure)

    def ask(self, *args: P.args, **kwargs: P.kwargs) -> Deferred[bool]:
        """Call every slot, at once, and wait for those that are coroutine functions or return a Deferred.

        :returns: fires with whether none of them failed: the answer of a slot that broke is none to go by.
            To cancel it cancels the slots that are waited for; it then fails with ``CancelledError``
        """
        none_failed = True
        waiting: list[Deferred[bool]] = []
        for slot in self._kept()._slots:
            if slot.is_connected and (function := slot.resolve()) is not None:
                try:
                    result = function(*args, **kwargs)
                except Exception:
                    self._log_failure()
                    none_failed = False
                    continue
                if inspect.iscoroutine(result):
                    result = Deferred.fromCoroutine(result)
                if isinstance(result, Deferred):
                    waiting.append(result.addCallbacks(lambda _: True, self._answer_failed))
        answers = gatherResults(waiting, consumeErrors=True)
        return answers.addCallbacks(lambda given: none_failed and all(given), _first_failure)

    def _answer_failed(self, failure: Failure) -> bool | Failure:
        if isinstance(failure.value, CancelledError):
            return failure
        self._log_failure(failure)
        return False

    def _log_failure(self, failure: Failure | None = None) -> None:
        _log.failure("a slot of {signal} failed", failure=failure, signal=self._name)


def _first_failure(failure: Failure) -> Failure:
    first = failure.value
    return first.subFailure if isinstance(first, FirstError) else failure
