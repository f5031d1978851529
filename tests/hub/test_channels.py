"""Channels: who receives what, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from wsecho.hub.channels import Hub, IMember, is_channel_name


@implementer(IMember)
class Member:
    """Notes what it is given; `then` is called with each publication after it was noted."""

    def __init__(self, then: Callable[[Any], object] = lambda publication: None) -> None:
        self.got: list[Any] = []
        self.then = then

    def deliver(self, publication: Any) -> None:
        self.got.append(publication)
        self.then(publication)


class PublishTests(SynchronousTestCase):
    """`Hub.publish`."""

    def setUp(self) -> None:
        self.hub: Hub[Any] = Hub()

    def join(self, *members: Member, channel: str = "c") -> None:
        """Put the members on the channel."""
        for member in members:
            self.hub.join(channel, member)

    def test_everybody(self) -> None:
        """Everybody on the channel gets the publication itself, not a copy."""
        one, two, publication = Member(), Member(), object()
        self.join(one, two)
        self.hub.publish("c", publication)
        self.assertEqual([len(one.got), len(two.got)], [1, 1])
        self.assertIs(one.got[0], publication)
        self.assertIs(two.got[0], publication)

    def test_but(self) -> None:
        """The member that is left out gets nothing."""
        one, two = Member(), Member()
        self.join(one, two)
        self.hub.publish("c", "p", but=one)
        self.assertEqual((one.got, two.got), ([], ["p"]))

    def test_other_channel(self) -> None:
        """A publication stays on its channel."""
        one, two = Member(), Member()
        self.join(one, channel="a")
        self.join(two, channel="b")
        self.hub.publish("a", "p")
        self.assertEqual((one.got, two.got), (["p"], []))

    def test_nobody(self) -> None:
        """Publishing on a channel that nobody is on does nothing, and makes no channel."""
        self.hub.publish("c", "p")
        self.assertEqual(list(self.hub), [])

    def test_failing_member(self) -> None:
        """A member that raises is logged, and the others get the publication."""
        failing, healthy = Member(lambda _: 1 / 0), Member()
        self.join(failing, healthy)
        self.hub.publish("c", "p")
        self.assertEqual(healthy.got, ["p"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_leaves_in_delivery(self) -> None:
        """Who leaves while others receive gets nothing of that publication."""
        late = Member()
        early = Member(lambda _: self.hub.leave("c", late))
        self.join(early, late)
        self.hub.publish("c", "p")
        self.assertEqual((early.got, late.got), (["p"], []))

    def test_last_leaves_in_delivery(self) -> None:
        """A delivery ends in order when its last members leave in the middle of it."""
        one = Member()
        two = Member()

        def everybody_leaves(publication: object) -> None:
            self.hub.leave("c", one)
            self.hub.leave("c", two)

        two.then = everybody_leaves
        self.join(two, one)
        self.hub.publish("c", "p")
        self.assertEqual((one.got, two.got, len(self.hub)), ([], ["p"], 0))

    def test_joins_in_delivery(self) -> None:
        """Who joins while others receive gets the next publication, not this one."""
        late = Member()
        early = Member(lambda _: self.hub.join("c", late))
        self.join(early)
        self.hub.publish("c", "p")
        self.hub.publish("c", "q")
        self.assertEqual(late.got, ["q"])

    def test_publishes_in_delivery(self) -> None:
        """What a member publishes while it receives overtakes nothing: everybody sees both in one order."""

        def publish_more(publication: object) -> None:
            if publication == "p":
                self.hub.publish("c", "q")

        first = Member(publish_more)
        second = Member()
        self.join(first, second)
        self.hub.publish("c", "p")
        self.assertEqual((first.got, second.got), (["p", "q"], ["p", "q"]))

    def test_delivery_goes_on_after_interruption(self) -> None:
        """An exception that is no ``Exception`` leaves the channel able to deliver."""

        def interrupt(publication: object) -> None:
            if publication == "p":
                raise KeyboardInterrupt

        member = Member(interrupt)
        self.join(member)
        self.assertRaises(KeyboardInterrupt, self.hub.publish, "c", "p")
        self.hub.publish("c", "q")
        self.assertEqual(member.got, ["p", "q"])


class MembershipTests(SynchronousTestCase):
    """`Hub.join` and `Hub.leave`."""

    def setUp(self) -> None:
        self.hub: Hub[Any] = Hub()

    def test_forgotten(self) -> None:
        """A channel is forgotten when the last member leaves."""
        one, two = Member(), Member()
        self.hub.join("c", one)
        self.hub.join("c", two)
        self.assertEqual((list(self.hub), self.hub.members("c")), (["c"], 2))
        self.hub.leave("c", one)
        self.assertEqual(self.hub.members("c"), 1)
        self.hub.leave("c", two)
        self.assertEqual((len(self.hub), self.hub.members("c")), (0, 0))

    def test_on(self) -> None:
        """Who is on a channel is told in the order of joining, as it was when it was asked."""
        one, two = Member(), Member()
        hub: Hub[Any] = Hub()
        self.assertEqual(hub.on("c"), ())
        hub.join("c", one)
        hub.join("c", two)
        found = hub.on("c")
        hub.leave("c", one)
        self.assertEqual((found, hub.on("c")), ((one, two), (two,)))

    def test_twice(self) -> None:
        """Who joins twice receives once, and leaves at once."""
        member = Member()
        self.hub.join("c", member)
        self.hub.join("c", member)
        self.hub.publish("c", "p")
        self.assertEqual(member.got, ["p"])
        self.hub.leave("c", member)
        self.assertEqual(len(self.hub), 0)

    def test_leaves_without_joining(self) -> None:
        """Who leaves a channel that it is not on changes nothing."""
        member = Member()
        self.hub.join("c", member)
        self.hub.leave("c", Member())
        self.hub.leave("d", member)
        self.assertEqual(self.hub.members("c"), 1)

    @given(st.lists(st.tuples(st.sampled_from("jlp"), st.integers(0, 2), st.sampled_from("ab"))))
    def test_any_history(self, history: list[tuple[str, int, str]]) -> None:
        """Whatever the order of joining, leaving and publishing, each member gets what was published on its
        channels while it was there."""
        hub: Hub[Any] = Hub()
        members = [Member() for _ in range(3)]
        present: set[tuple[str, int]] = set()
        expected: list[list[int]] = [[], [], []]
        for number, (step, who, channel) in enumerate(history):
            if step == "j":
                hub.join(channel, members[who])
                present.add((channel, who))
            elif step == "l":
                hub.leave(channel, members[who])
                present.discard((channel, who))
            else:
                hub.publish(channel, number, but=members[who])
                for other in range(3):
                    if other != who and (channel, other) in present:
                        expected[other].append(number)
        self.assertEqual([member.got for member in members], expected)
        self.assertEqual(set(hub), {channel for channel, _ in present})


class NameTests(SynchronousTestCase):
    """`is_channel_name`."""

    def test_names(self) -> None:
        """A name is 1 to 128 unreserved characters."""
        for name in ("a", "A-Z_0.9~", "x" * 128, ".", ".."):
            self.assertTrue(is_channel_name(name), name)

    def test_no_names(self) -> None:
        """Anything else is none: empty, too long, or with a character that a path would have to encode."""
        for name in ("", "x" * 129, "a/b", "a b", "ä", "a\n", "a%20", "a?", "+"):
            self.assertFalse(is_channel_name(name), name)
