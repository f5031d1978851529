"""What wsecho uses below pyOpenSSL's public interface is there, and does what wsecho counts on."""

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from wsecho.tls import beneath
from wsecho.tls.beneath import (
    BENEATH,
    connection_of,
    has_pre_shared_keys,
    missing,
    set_groups,
    set_identity_hint,
    verify_error_text,
)


class BeneathTests(SynchronousTestCase):
    """The list of names, and the small functions on them."""

    def test_nothing_is_missing(self) -> None:
        """These bindings have every name."""
        self.assertEqual(missing(), [])

    def test_reasons(self) -> None:
        """Each name has its reason, which begins with what wsecho does with it."""
        for (_, name), reason in BENEATH.items():
            self.assertRegex(reason, r"\A(called|read): ", name)

    def test_gone(self) -> None:
        """A name that is gone is reported."""
        self.patch(beneath, "BENEATH", {(SSL.Connection, "_gone"): "called: never"})
        self.assertEqual(missing(), ["_gone is gone"])

    def test_texts(self) -> None:
        """OpenSSL's words for an error."""
        self.assertEqual(verify_error_text(10), "certificate has expired")

    def test_pre_shared_keys(self) -> None:
        """Bindings without the word for it have no pre-shared keys."""
        self.assertIs(has_pre_shared_keys(), True)
        self.patch(beneath, "_lib", object())
        self.assertIs(has_pre_shared_keys(), False)

    def test_groups(self) -> None:
        """The first list that OpenSSL knows is taken, and no error is left for others to find."""
        context = SSL.Context(SSL.TLS_METHOD)
        self.assertEqual(set_groups(context, b"nonsense", b"P-256", b"P-384"), b"P-256")
        self.assertEqual(set_groups(context, b"nonsense"), b"")
        self.assertEqual(beneath._lib.ERR_peek_error(), 0)

    def test_hint(self) -> None:
        """OpenSSL takes a hint of 256 bytes, and none that is longer."""
        context = SSL.Context(SSL.TLS_METHOD)
        self.assertIs(set_identity_hint(context, b"x" * 256), True)
        self.assertIs(set_identity_hint(context, b"x" * 257), False)
        beneath._lib.ERR_clear_error()

    def test_connection_that_is_gone(self) -> None:
        """A callback for a connection that is gone finds none."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        self.assertIs(connection_of(connection._ssl), connection)
        self.assertIsNone(connection_of(object()))
