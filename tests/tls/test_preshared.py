"""Pre-shared keys, in memory."""

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.harness import Memory, alerts_of, exchange, nothing, shake_hands, tls12
from wsecho.policy.authenticators import PreSharedKeyAuthenticator
from wsecho.tls import beneath, preshared
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.connections import ObservedConnection
from wsecho.tls.contexts import ConfiguredCreator
from wsecho.tls.preshared import PSK_CIPHERS, PreSharedKeys, offer_keys

UNKNOWN_PSK_IDENTITY, BAD_RECORD_MAC, DECRYPT_ERROR, HANDSHAKE_FAILURE = 115, 20, 51, 40
KEY = b"\x01" * 32
Answer = Callable[[PreSharedKeyAuthenticator], object]


def keys_of(known: dict[bytes, bytes]) -> Answer:
    """Answers with the keys of a table."""

    def answer(question: PreSharedKeyAuthenticator) -> None:
        question.key = known.get(question.identity, b"")

    return answer


def naming(identity: bytes, key: bytes) -> Answer:
    """Answers with one identity."""

    def answer(question: PreSharedKeyAuthenticator) -> None:
        question.identity, question.key = identity, key

    return answer


class HandshakeTests(SynchronousTestCase):
    """Both versions, from both ends."""

    def client(
        self, answer: Answer | None, version: Callable[[SSL.Context], None], memory: Memory | None = None
    ) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        version(context)
        context.set_cipher_list(PSK_CIPHERS.encode())
        context.set_verify(SSL.VERIFY_PEER, lambda *_: False)
        offer_keys(context, PreSharedKeys(answer=answer))
        protocol: Any = object()
        connection = ObservedConnection(context, protocol, memory)
        connection.set_connect_state()
        return connection

    def server(self, keys: PreSharedKeys, memory: Memory | None = None) -> SSL.Connection:
        creator: Any = ConfiguredCreator(TlsConfiguration(pre_shared_keys=keys))
        if memory is not None:
            creator = creator.observed_by(memory)
        connection: SSL.Connection = creator.serverConnectionForTLS(object())
        connection.set_accept_state()
        return connection

    def test_key_that_both_know(self) -> None:
        """Who has the key of its identity is let in, in TLS 1.2 and 1.3, without any certificate."""
        for version, name in ((tls12, "TLSv1.2"), (nothing, "TLSv1.3")):
            client = self.client(naming(b"anna", KEY), version)
            server = self.server(PreSharedKeys(answer=keys_of({b"anna": KEY})))
            shake_hands(client, server)
            self.assertEqual(client.get_protocol_version_name(), name)
            self.assertEqual(exchange(client, server, b"there"), b"there")
            self.assertIsNone(client.get_peer_certificate())

    def test_forward_secrecy_first(self) -> None:
        """In TLS 1.2 the suite with an exchange of fresh keys is chosen."""
        client = self.client(naming(b"anna", KEY), tls12)
        shake_hands(client, self.server(PreSharedKeys(answer=keys_of({b"anna": KEY}))))
        self.assertEqual(client.get_cipher_name(), "ECDHE-PSK-CHACHA20-POLY1305")

    def test_wrong_ones(self) -> None:
        """An unknown identity, a wrong key, and a client without any are refused in both versions."""
        for version, answer, alert in (
            (tls12, naming(b"bert", KEY), UNKNOWN_PSK_IDENTITY),
            (tls12, naming(b"anna", b"\x02" * 32), BAD_RECORD_MAC),
            (nothing, naming(b"bert", KEY), HANDSHAKE_FAILURE),
            (nothing, naming(b"anna", b"\x02" * 32), None),
        ):
            server = self.server(PreSharedKeys(answer=keys_of({b"anna": KEY})))
            sent = alerts_of(server)
            self.assertRaises(SSL.Error, shake_hands, self.client(answer, version), server)
            self.assertEqual(sent, [DECRYPT_ERROR if alert is None else alert], (version, alert))
        server = self.server(PreSharedKeys(answer=keys_of({})))
        plain = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        plain.set_connect_state()
        self.assertRaises(SSL.Error, shake_hands, plain, server)

    def test_hint(self) -> None:
        """A client of TLS 1.2 sees the hint; in TLS 1.3 there is none."""
        for version, seen in ((tls12, b"which?"), (nothing, b"")):
            hints: list[bytes] = []

            def answer(question: PreSharedKeyAuthenticator, hints: list[bytes] = hints) -> None:
                hints.append(question.identity_hint)
                question.identity, question.key = b"anna", KEY

            keys = PreSharedKeys(b"which?", keys_of({b"anna": KEY}))
            shake_hands(self.client(answer, version), self.server(keys))
            self.assertEqual(set(hints), {seen})

    def test_observers_are_asked(self) -> None:
        """Without an answer of the configuration's, the observers of both ends are asked."""
        ours, theirs = Memory(), Memory()
        ours.key = theirs.key = KEY
        theirs.identity = b"anna"
        shake_hands(self.client(None, tls12, theirs), self.server(PreSharedKeys(b"hint"), ours))
        self.assertEqual((ours.questions, theirs.questions), ([(b"hint", b"anna")], [(b"hint", b"")]))

    def test_answers_that_fail(self) -> None:
        """An answer that raises, is none, or is too long refuses; the mistake is logged."""

        def broken(question: PreSharedKeyAuthenticator) -> None:
            raise ZeroDivisionError

        for ours in (broken, naming(b"anna", "text"), naming(b"anna", b"x" * 2000)):  # type: ignore[arg-type]
            self.assertRaises(
                SSL.Error,
                shake_hands,
                self.client(naming(b"anna", KEY), tls12),
                self.server(PreSharedKeys(answer=ours)),
            )
        for theirs in (broken, naming(b"a" * 2000, KEY), naming(b"anna", b"")):
            self.assertRaises(
                SSL.Error,
                shake_hands,
                self.client(theirs, tls12),
                self.server(PreSharedKeys(answer=keys_of({b"anna": KEY}))),
            )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_nobody_to_ask(self) -> None:
        """Without an answer and an observer everybody is refused."""
        client = self.client(naming(b"anna", KEY), tls12)
        self.assertRaises(SSL.Error, shake_hands, client, self.server(PreSharedKeys()))


class PreSharedKeysTests(SynchronousTestCase):
    """The value."""

    def test_wrong_values(self) -> None:
        """What cannot be a hint or an answer is refused when it is made."""
        wrong: Any
        for wrong, kind in (("text", TypeError), (b"x" * 129, ValueError), (b"a\0b", ValueError)):
            self.assertRaises(kind, PreSharedKeys, wrong)
        wrong = b"key"
        self.assertRaises(TypeError, PreSharedKeys, answer=wrong)

    def test_openssl_without(self) -> None:
        """Where OpenSSL has no pre-shared keys, the line says so."""
        self.patch(preshared, "has_pre_shared_keys", lambda: False)
        line = str(self.assertRaises(ValueError, PreSharedKeys))
        self.assertIn("this installation of cryptography or OpenSSL has none", line)
        self.assertIs(beneath.has_pre_shared_keys(), True)
