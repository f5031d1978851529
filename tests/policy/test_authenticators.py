"""Tests for wsecho.policy.authenticators."""

import copy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsecho.policy.authenticators import Authenticator, CorsAuthenticator, PreSharedKeyAuthenticator


class CorsAuthenticatorTests(SynchronousTestCase):
    """The question about an origin."""

    def test_allowed_by_default(self) -> None:
        """As in Qt, an origin is allowed when nobody says otherwise."""
        question = CorsAuthenticator("http://example.com")
        self.assertEqual((question.origin, question.allowed), ("http://example.com", True))

    def test_decide(self) -> None:
        """A slot decides by the property or by the call, whichever reads better."""
        question = CorsAuthenticator("")
        question.allowed = False
        self.assertFalse(question.allowed)
        question.set_allowed(True)
        self.assertTrue(question.allowed)
        self.assertEqual(repr(question), "CorsAuthenticator('', allowed=True)")

    def test_no_truthy_mistakes(self) -> None:
        """What is no bool is refused, and changes nothing."""
        question = CorsAuthenticator("http://example.com")
        question.allowed = False
        wrong: Any = "no"
        error = self.assertRaises(TypeError, question.set_allowed, wrong)
        self.assertEqual(str(error), "allowed must be a bool, not str")
        self.assertFalse(question.allowed)

    def test_copies_are_independent(self) -> None:
        """To decide on a copy decides nothing on the question."""
        question = CorsAuthenticator("http://example.com")
        copied = copy.copy(question)
        copied.allowed = False
        self.assertEqual((copied.origin, copied.allowed), ("http://example.com", False))
        self.assertTrue(question.allowed)


class AuthenticatorTests(SynchronousTestCase):
    """The question for user and password."""

    def test_null(self) -> None:
        """A question is null until somebody sets a user or a password."""
        question = Authenticator("staff")
        self.assertEqual((question.realm, question.user, question.password), ("staff", "", ""))
        self.assertTrue(question.is_null())
        question.password = "secret"
        self.assertFalse(question.is_null())

    def test_basic(self) -> None:
        """The example of RFC 7617 section 2.1, in UTF-8."""
        self.assertEqual(Authenticator("foo", "test", "123£").basic(), "Basic dGVzdDoxMjPCow==")

    def test_cannot_be_sent(self) -> None:
        """A colon in the user, and control characters, which Basic authentication cannot express, are refused
        where they are set."""
        question = Authenticator()
        for name, value, message in (
            ("user", "a:b", "user must not hold a colon (RFC 7617 section 2)"),
            ("user", "a\r\n", "user must hold printable characters only"),
            ("password", "\0", "password must hold printable characters only"),
        ):
            error = self.assertRaises(ValueError, setattr, question, name, value)
            self.assertEqual(str(error), message)
        error = self.assertRaises(TypeError, setattr, question, "password", b"secret")
        self.assertEqual(str(error), "password must be a str, not bytes")
        self.assertTrue(question.is_null())

    def test_repr_keeps_the_secret(self) -> None:
        """Passwords and keys do not show, so that no log line has them."""
        self.assertEqual(repr(Authenticator("r", "u", "secret")), "Authenticator('r', user='u')")
        self.assertNotIn("secret", repr(PreSharedKeyAuthenticator(b"hint", b"me", b"secret")))


class PreSharedKeyAuthenticatorTests(SynchronousTestCase):
    """The question for a key."""

    def test_nobody_answers(self) -> None:
        """Without an answer, there is no key."""
        question = PreSharedKeyAuthenticator(b"hint")
        self.assertEqual((question.identity_hint, question.identity, question.key), (b"hint", b"", b""))
