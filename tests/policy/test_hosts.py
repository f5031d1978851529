"""Which Host header values a server answers to."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.hosts import (
    LOOPBACK_HOSTS,
    AllowedHosts,
    HostPort,
    canonical_host,
    is_loopback,
    parse_host,
    parse_wildcard,
)

# Not of the form host[:port], whatever lenient parsers make of it.
MALFORMED = [
    "",
    ":",
    ":80",
    " example.com",
    "example.com ",
    "example .com",
    "example.com\t",
    "example.com\n",
    "example.com\r\nX: y",
    "example.com\x00",
    "example.com\x85",
    "example.com.",
    ".example.com",
    "example..com",
    "-example.com",
    "example-.com",
    "example.com-",
    "example.com:",
    "example.com:0",
    "example.com:080",
    "example.com:65536",
    "example.com:99999",
    "example.com:100000",
    "example.com:+80",
    "example.com:8 0",
    "example.com:80:80",
    "example.com:80/",
    "example.com:http",
    "example.com:\u0668\u0660",
    "example.com/",
    "example.com/x",
    "example.com\\",
    "example.com?x",
    "example.com#x",
    "user@example.com",
    "user:password@example.com",
    "@example.com",
    "http://example.com",
    "//example.com",
    "example.com,example.com",
    "example.com, example.com",
    "example.com;example.com",
    "exa%6dple.com",
    "exam\xadple.com",
    "b\xfccher.example",
    "example\u3002com",
    "\u212aelvin.example",
    "*",
    "*.example.com",
    "<example.com>",
    '"example.com"',
    "1",
    "127.1",
    "127.0.0",
    "127.0.0.1.",
    "127.0.0.01",
    "127.0.0.256",
    "1.2.3.4.5",
    "2130706433",
    "0x7f.0.0.1",
    "0x7f000001",
    "example.0x",
    "example.1",
    "::1",
    "[::1",
    "::1]",
    "[]",
    "[::1]80",
    "[::1]:",
    "[::1].example",
    "[::1%25lo]",
    "[::1%lo]",
    "[::g]",
    "[1::2::3]",
    "[12345::]",
    "[127.0.0.1]",
    "[example.com]",
    "[v1.x]",
    "[[::1]]",
    "a" * 64 + ".example",
    ".".join(["a" * 60] * 5),
]


class ParseHostTests(SynchronousTestCase):
    """Reading ``host[:port]``."""

    def test_well_formed(self) -> None:
        """Names, addresses and ports are read into their canonical form."""
        table = {
            "example.com": HostPort("example.com"),
            "Example.COM:8080": HostPort("example.com", 8080),
            "localhost:1": HostPort("localhost", 1),
            "a:65535": HostPort("a", 65535),
            "my_service:9000": HostPort("my_service", 9000),
            "r3---sn-4g5.example": HostPort("r3---sn-4g5.example"),
            "xn--bcher-kva.example": HostPort("xn--bcher-kva.example"),
            "3com.example": HostPort("3com.example"),
            "1.2.3.4.example": HostPort("1.2.3.4.example"),
            "127.0.0.1:9000": HostPort("127.0.0.1", 9000),
            "[::1]": HostPort("[::1]"),
            "[0:0:0:0:0:0:0:1]:9000": HostPort("[::1]", 9000),
            "[2001:DB8::A]": HostPort("[2001:db8::a]"),
            "a" * 63 + ".example": HostPort("a" * 63 + ".example"),
        }
        self.assertEqual({text: parse_host(text) for text in table}, table)

    def test_malformed(self) -> None:
        """Whatever is not host[:port] is refused with one printable line."""
        for text in MALFORMED:
            line = str(self.assertRaises(ValueError, parse_host, text))
            self.assertTrue(line.isprintable(), line)
            self.assertLess(len(line), 400)

    def test_canonical_host_takes_no_port(self) -> None:
        """A host alone is read by the same grammar; zones and ports do not belong to it."""
        self.assertEqual(canonical_host("EXAMPLE.com"), "example.com")
        self.assertEqual(canonical_host("[::0]"), "[::]")
        for text in ("example.com:80", "[::1]:80", "[::1%lo]", "::1", "", "[]", "a" * 254):
            self.assertRaises(ValueError, canonical_host, text)

    def test_mapped_addresses_are_one(self) -> None:
        """The two spellings of an IPv4-mapped address are the same host, and not the IPv4 address."""
        self.assertEqual(canonical_host("[::ffff:127.0.0.1]"), canonical_host("[::FFFF:7f00:1]"))
        self.assertNotEqual(canonical_host("[::ffff:127.0.0.1]"), "127.0.0.1")

    @given(st.text(st.characters()))
    def test_nothing_but_a_host_is_read(self, text: str) -> None:
        """Whatever is read holds only characters of hosts and ports, and its canonical text reads back the
        same."""
        try:
            host = parse_host(text)
        except ValueError:
            return
        self.assertEqual(
            set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:[]"), set()
        )
        self.assertEqual(parse_host(str(host)), host)


class WildcardTests(SynchronousTestCase):
    """What may stand behind an asterisk."""

    def test_allowed(self) -> None:
        """Two labels or more may be covered, and the single labels that nobody can register under."""
        table = {
            "*.example.com": HostPort("example.com"),
            "*.Example.COM:8443": HostPort("example.com", 8443),
            "*.localhost": HostPort("localhost"),
            "*.local:80": HostPort("local", 80),
        }
        self.assertEqual({text: parse_wildcard(text) for text in table}, table)

    def test_refused(self) -> None:
        """A wildcard over a whole top-level domain, over an address, or inside a label is refused."""
        for text in (
            *("*", "*.", "*.com", "*.lan", "*.*.com", "*.*", "example.com", "a*.example.com", "a.*.com", ""),
            *(
                "*.127.0.0.1",
                "*.0.0.1",
                "*.1",
                "*.[::1]",
                "*.example.com.",
                "*..example.com",
                "*.example.com:0",
            ),
        ):
            self.assertRaises(ValueError, parse_wildcard, text)

    def test_address_is_named_as_the_reason(self) -> None:
        """The line about a wildcard before an address says so."""
        for text in ("*.[::1]", "*.127.0.0.1"):
            self.assertIn("before an address", str(self.assertRaises(ValueError, parse_wildcard, text)))


class LoopbackTests(SynchronousTestCase):
    """This machine's own names."""

    def test_loopback(self) -> None:
        """localhost, 127.0.0.0/8 and ::1 are loopback, and nothing that only begins or ends like them."""
        hosts = [
            *("localhost", "127.0.0.1", "127.255.255.255", "[::1]"),
            *(
                "127.example.com",
                "localhost.example",
                "a.localhost",
                "128.0.0.1",
                "0.0.0.0",
                "[::]",
                "[::ffff:7f00:1]",
                "",
            ),
        ]
        self.assertEqual([host for host in hosts if is_loopback(host)], hosts[:4])


class AllowedHostsTests(SynchronousTestCase):
    """The list of accepted values."""

    def check(self, allowed: list[str], admits: list[str], refuses: list[str]) -> None:
        policy = AllowedHosts(allowed)
        self.assertEqual([host for host in admits + refuses if policy.allows(host)], admits)

    def test_name(self) -> None:
        """A name is accepted in any case and with any port."""
        self.check(
            ["example.com"],
            ["example.com", "EXAMPLE.COM", "example.com:9000"],
            [
                "www.example.com",
                "example.com.evil.example",
                "badexample.com",
                "example.com.",
                "localhost",
                "",
            ],
        )

    def test_name_with_port(self) -> None:
        """A name with a port is accepted with this port only."""
        self.check(
            ["example.com:8443"],
            ["example.com:8443"],
            ["example.com", "example.com:443", "a.example.com:8443"],
        )

    def test_default_ports_may_be_left_out(self) -> None:
        """Port 80 or 443 in the list also accepts the value without port, as browsers send it."""
        self.check(
            ["example.com:443"], ["example.com:443", "example.com"], ["example.com:80", "example.com:8443"]
        )
        self.check(["*.example.com:80"], ["a.example.com:80", "a.example.com"], ["a.example.com:443"])

    def test_wildcard(self) -> None:
        """A wildcard accepts whole labels in front of its name, with any port or with its own."""
        self.check(
            ["*.example.com"],
            ["a.example.com", "b.a.example.com:9000"],
            ["example.com", "badexample.com", ".example.com", "a.example.com.evil.example", "*.example.com"],
        )
        self.check(["*.example.com:9000"], ["a.example.com:9000"], ["a.example.com", "a.example.com:9001"])

    def test_addresses(self) -> None:
        """An address is accepted in every spelling of the same address."""
        self.check(["[2001:db8::1]"], ["[2001:DB8:0::1]:9000"], ["[2001:db8::2]", "2001:db8::1"])
        self.check(["192.0.2.1"], ["192.0.2.1", "192.0.2.1:9000"], ["192.0.2.10", "192.0.2.01"])

    def test_loopback_names(self) -> None:
        """A server on loopback answers to loopback names with any port, and not to a name made to resolve to
        it."""
        self.check(
            list(LOOPBACK_HOSTS),
            ["localhost", "localhost:9000", "LocalHost:9000", "127.0.0.1:9000", "127.9.9.9", "[::1]:9000"],
            [
                "rebound.example:9000",
                "a.localhost",
                "localhost.example",
                "0.0.0.0",
                "192.168.0.1",
                "[::]:9000",
                "",
            ],
        )

    def test_any(self) -> None:
        """Without a list, and with ``*``, every well-formed value is accepted and no malformed one."""
        for policy in (AllowedHosts(), AllowedHosts(None), AllowedHosts(["a.example", "*"])):
            self.assertTrue(policy.allows("anything.example:9000"))
            self.assertEqual([host for host in MALFORMED if policy.allows(host)], [])

    def test_empty_list_accepts_nothing(self) -> None:
        """An empty list is not the same as no list."""
        self.check([], [], ["localhost", "example.com"])

    def test_values_add_up(self) -> None:
        """Of several values each accepts its own."""
        self.check(
            ["loopback", "a.example", "*.b.example"], ["localhost", "a.example", "x.b.example"], ["b.example"]
        )

    def test_wrong_values(self) -> None:
        """A wrong value raises one line that tells what is accepted."""
        for value in (*(set(MALFORMED) - {"*", "*.example.com"}), "*.com", "a.*.example"):
            line = str(self.assertRaises(ValueError, AllowedHosts, ["localhost", value]))
            self.assertTrue(line.isprintable(), line)
            self.assertIn("accepted are", line)

    def test_text_in_place_of_a_list(self) -> None:
        """A single text, or anything else that is no list of texts, is refused."""
        for value in ("localhost", "*", b"*", 5, ["a.example", None], [b"a.example"]):
            self.assertRaises(ValueError, AllowedHosts, value)

    def test_representation(self) -> None:
        """The list shows what it was made of."""
        self.assertEqual(repr(AllowedHosts(["loopback"])), "AllowedHosts(('loopback',))")
        self.assertEqual(repr(AllowedHosts()), "AllowedHosts(None)")
