"""policy/proxies.py: who is believed about whom."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.proxies import ForwardingConflict, PeerAddress, TrustedProxies

PROXY = PeerAddress("10.0.0.1", 50000)
STRANGER = PeerAddress("203.0.113.7", 4711)
BEHIND_UNIX = PeerAddress(None)


class PeerAddressTests(SynchronousTestCase):
    """An address and its text."""

    def test_text(self) -> None:
        """The text is the address, in brackets for IPv6, and the port if there is one."""
        for address, text in (
            (PeerAddress("127.0.0.1", 40000), "127.0.0.1:40000"),
            (PeerAddress("::1", 40000), "[::1]:40000"),
            (PeerAddress("192.0.2.1"), "192.0.2.1"),
            (PeerAddress("2001:db8::1"), "[2001:db8::1]"),
            (PeerAddress("192.0.2.1", 0), "192.0.2.1:0"),
            (PeerAddress(None), "unix"),
        ):
            self.assertEqual(str(address), text)

    def test_canonical(self) -> None:
        """An address has one form: IPv6 compressed, IPv4-mapped as IPv4, without a zone."""
        for host, canonical in (
            ("2001:DB8:0::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::1"),
            ("not an address", "not an address"),
        ):
            self.assertEqual(PeerAddress.of(host, 1), PeerAddress(canonical, 1))
        self.assertEqual(PeerAddress.of(None), PeerAddress(None))


class TrustTests(SynchronousTestCase):
    """Which addresses are proxies'."""

    def test_nobody(self) -> None:
        """Without values nobody is trusted, this machine included."""
        for host in ("127.0.0.1", "::1", "10.0.0.1", None):
            self.assertFalse(TrustedProxies().trusts(host), host)

    def test_addresses_and_networks(self) -> None:
        """An address is trusted when it is named or in a network that is."""
        proxies = TrustedProxies(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32", "::1"])
        for host in (
            "192.0.2.1",
            "10.255.255.255",
            "2001:db8:ffff::1",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:a00:1",
        ):
            self.assertTrue(proxies.trusts(host), host)
        for host in (
            "192.0.2.2",
            "11.0.0.0",
            "2001:db9::",
            "::2",
            "::",
            "127.0.0.1",
            "",
            "localhost",
            "10.1",
        ):
            self.assertFalse(proxies.trusts(host), host)

    def test_zone(self) -> None:
        """The zone of a link-local address does not count."""
        self.assertTrue(TrustedProxies(["fe80::/10"]).trusts("fe80::1%eth0"))

    def test_unix(self) -> None:
        """Peers on unix sockets are trusted when they are named, and by no network."""
        self.assertTrue(TrustedProxies(["unix"]).trusts(None))
        self.assertFalse(TrustedProxies(["0.0.0.0/0", "::/0"]).trusts(None))
        self.assertFalse(TrustedProxies(["unix"]).trusts("127.0.0.1"))

    def test_wrong_values(self) -> None:
        """A wrong value raises one line with the value and what is accepted."""
        for value in (
            *("", "10.0.0", "10.0.0.0/33", "10.0.0.1/8", "example.com", "*", "10.0.0.0/8/8", "10.0.0.1:80"),
            *(
                "[::1]",
                "::1/129",
                "fe80::1%eth0/64",
                "Unix",
                "::ffff:10.0.0.0/104",
                "10.0.0.1 ",
                "\x1b[2J",
                "010.0.0.1",
            ),
        ):
            line = str(self.assertRaises(ValueError, TrustedProxies, [value]))
            self.assertTrue(
                line.isprintable() and "accepted are" in line and line.startswith("not a proxy: "), line
            )

    def test_host_bits(self) -> None:
        """Of a network with bits behind its prefix the line says so."""
        self.assertIn("host bits", str(self.assertRaises(ValueError, TrustedProxies, ["10.0.0.1/8"])))

    def test_text_in_place_of_a_list(self) -> None:
        """A single text, or anything else that is no list of texts, is refused."""
        for value in ("10.0.0.0/8", b"10.0.0.0/8", 10, [10], None):
            self.assertRaises(ValueError, TrustedProxies, value)

    def test_representation(self) -> None:
        """The list shows what it was made of."""
        self.assertEqual(repr(TrustedProxies(["::1", "unix"])), "TrustedProxies(('::1', 'unix'))")


class WalkTestCase(SynchronousTestCase):
    """A server behind proxies in 10.0.0.0/8."""

    proxies = TrustedProxies(["10.0.0.0/8", "fd00::/8"])

    def assert_client(self, expected: str, *, peer: PeerAddress = PROXY, **headers: str) -> None:
        """The client of a request with these headers (``_`` for ``-``)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.assertEqual(str(self.proxies.client(peer, named)), expected, headers)


class ForwardedForTests(WalkTestCase):
    """X-Forwarded-For."""

    def test_no_header(self) -> None:
        """Without a header the peer is the client, proxy or not."""
        self.assert_client("10.0.0.1:50000")
        self.assert_client("203.0.113.7:4711", peer=STRANGER)

    def test_not_from_strangers(self) -> None:
        """What somebody says who is not trusted is not believed."""
        self.assert_client("203.0.113.7:4711", peer=STRANGER, x_forwarded_for="192.0.2.1")
        self.assert_client("203.0.113.7:4711", peer=STRANGER, forwarded="for=192.0.2.1")
        self.assert_client("unix", peer=BEHIND_UNIX, x_forwarded_for="192.0.2.1")

    def test_conflict_of_strangers(self) -> None:
        """Headers of somebody who is not trusted are not even compared."""
        self.assert_client(
            "203.0.113.7:4711", peer=STRANGER, forwarded="for=192.0.2.1", x_forwarded_for="192.0.2.2"
        )

    def test_forged(self) -> None:
        """Of several entries the last is the client, since what stands before it the client has written."""
        self.assert_client("203.0.113.7", x_forwarded_for="192.0.2.1, 203.0.113.7")
        self.assert_client("203.0.113.7", x_forwarded_for="127.0.0.1,10.0.0.9,203.0.113.7")

    def test_several_proxies(self) -> None:
        """Entries of trusted proxies are passed over."""
        self.assert_client("203.0.113.7", x_forwarded_for="192.0.2.1, 203.0.113.7, 10.0.0.3,\t10.0.0.2")
        self.assert_client(
            "203.0.113.7", peer=PeerAddress("fd00::1", 1), x_forwarded_for="203.0.113.7, fd00::2"
        )

    def test_all_trusted(self) -> None:
        """When all are proxies the first of them is the client."""
        self.assert_client("10.0.0.3", x_forwarded_for="10.0.0.3, 10.0.0.2")

    def test_forms(self) -> None:
        """An entry is an IPv4 address, an IPv6 address with or without brackets, and may have a port."""
        for entry, client in (
            ("203.0.113.7:4711", "203.0.113.7:4711"),
            ("[2001:DB8::1]:4711", "[2001:db8::1]:4711"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("2001:db8::1", "[2001:db8::1]"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:_hidden", "203.0.113.7"),
        ):
            self.assert_client(client, x_forwarded_for=entry)

    def test_malformed(self) -> None:
        """An entry that is no address ends the walk at the proxy that wrote it."""
        for entry in (
            *("", "unknown", "_hidden", "example.com", "203.0.113", "203.0.113.7:", "203.0.113.7:65536"),
            *("203.0.113.7 192.0.2.1", "[2001:db8::1", "[2001:db8::1]x", "2001:db8::1%eth0", "203.0.113.07"),
            *('"203.0.113.7"', "for=203.0.113.7", "203.0.113.7\x85", "[]", "[203.0.113.7]", "٢.1.1.1", ":::"),
            *("203.0.113.7:_", "203.0.113.7:-1", "203.0.113.7;192.0.2.1", "2001:db8::1]:80", "1.1.1.1:٢"),
        ):
            self.assert_client("10.0.0.1:50000", x_forwarded_for=entry)
            self.assert_client("10.0.0.1:50000", x_forwarded_for=f"192.0.2.1, {entry}")
            self.assert_client("10.0.0.2", x_forwarded_for=f"{entry},10.0.0.2")

    def test_unix(self) -> None:
        """A proxy on a unix socket is believed when such peers are trusted."""
        proxies = TrustedProxies(["unix"])
        self.assertEqual(str(proxies.client(BEHIND_UNIX, {"x-forwarded-for": "203.0.113.7"})), "203.0.113.7")


class ForwardedTests(WalkTestCase):
    """Forwarded (RFC 7239)."""

    def test_forms(self) -> None:
        """The address stands in for=, in any case, among other parameters, quoted where it must be."""
        for element, client in (
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=203.0.113.7;proto=https;by=10.0.0.1", "203.0.113.7"),
            ('proto=http;FOR="203.0.113.7:4711";host="a.example:80"', "203.0.113.7:4711"),
            ('for="[2001:db8:cafe::17]:4711"', "[2001:db8:cafe::17]:4711"),
            ('for="[2001:db8:cafe::17]"', "[2001:db8:cafe::17]"),
            ('for="203.0.113.7:_secret"', "203.0.113.7"),
        ):
            self.assert_client(client, forwarded=element)

    def test_several(self) -> None:
        """Elements are read from the last, over trusted proxies."""
        self.assert_client("203.0.113.7", forwarded="for=192.0.2.1, for=203.0.113.7 ,for=10.0.0.2")

    def test_no_address(self) -> None:
        """An element without address, or with a hidden one, ends the walk at the proxy that wrote it."""
        for element in (
            *(
                "",
                "proto=https",
                "for=unknown",
                "for=_hidden",
                'for="_hidden:_port"',
                "for=",
                'for=""',
                "for",
            ),
            *(
                "for=203.0.113.7:80",
                "for=[2001:db8::1]",
                'for="2001:db8::1"',
                "for=203.0.113.7;for=192.0.2.1",
            ),
            *(
                "for=203.0.113.7;for=203.0.113.7",
                "for =203.0.113.7",
                "for= 203.0.113.7",
                "for=203.0.113.7;",
                ";",
            ),
            *(
                'for="203.0.113.7',
                'for=203.0.113.7"',
                'for="203.0.113.\\7"',
                "203.0.113.7",
                "for='203.0.113.7'",
            ),
            *(
                "for=203.0.113.7; proto=http",
                "x=y;for=unknown",
                'for="203.0.113.7:99999"',
                'for="203.0.113.7\x85"',
            ),
        ):
            self.assert_client("10.0.0.1:50000", forwarded=element)
            self.assert_client("10.0.0.1:50000", forwarded=f"for=192.0.2.1, {element}")
            self.assert_client("10.0.0.2", forwarded=f"{element},for=10.0.0.2")

    def test_open_quotation_mark(self) -> None:
        """A quotation mark that a client leaves open swallows nothing of what the proxy appended."""
        for forged in ('for="192.0.2.1', '"', 'for=192.0.2.1;x="a', 'x="\\'):
            self.assert_client("203.0.113.7", forwarded=f"{forged}, for=203.0.113.7")

    def test_comma_in_quotation_marks(self) -> None:
        """A comma separates also inside quotation marks: a client cannot hide an element in them."""
        self.assert_client("10.0.0.1:50000", forwarded='for=203.0.113.7;x="a,for=192.0.2.1;b"')
        self.assert_client("203.0.113.7", forwarded='x="a,for=192.0.2.1;b", for=203.0.113.7')


class BothHeadersTests(WalkTestCase):
    """Forwarded and X-Forwarded-For together."""

    def test_agree(self) -> None:
        """Two headers that name the same client are fine; Forwarded tells the port."""
        self.assert_client(
            "203.0.113.7:4711", forwarded='for="203.0.113.7:4711"', x_forwarded_for="192.0.2.1, 203.0.113.7"
        )

    def test_disagree(self) -> None:
        """Two headers that name different clients are an error: one of them the proxy only passed on."""
        for forwarded, plain in (
            ("for=192.0.2.1", "203.0.113.7"),
            ("for=unknown", "203.0.113.7"),
            ("for=10.0.0.2", "203.0.113.7"),
            ("for=203.0.113.7", ""),
        ):
            self.assertRaises(
                ForwardingConflict,
                self.proxies.client,
                PROXY,
                {"forwarded": forwarded, "x-forwarded-for": plain},
            )


_ENTRY = st.sampled_from(
    ["10.0.0.2", "192.0.2.1", "unknown", "", "[::1]", "fd00::3", '"', "for=192.0.2.1", "192.0.2.1:80", ";"]
)


class ForgingTests(WalkTestCase):
    """Whatever a client writes."""

    @settings(deadline=None)
    @given(st.lists(_ENTRY, max_size=5))
    def test_prefix_never_counts(self, forged: list[str]) -> None:
        """What a client puts in front of the proxy's entry never changes who it is."""
        plain = ",".join([*forged, "203.0.113.7"])
        self.assert_client("203.0.113.7", x_forwarded_for=plain)
        self.assert_client("203.0.113.7", forwarded=",".join([*forged, "for=203.0.113.7"]))
        self.assert_client("203.0.113.7:4711", peer=STRANGER, x_forwarded_for=plain)
