"""Tests for wsecho.dialing."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from wsecho.dialing import Attempt, dial, socket_error
from wsecho.policy.authenticators import Authenticator
from wsecho.policy.enumerations import SocketError
from wsecho.wire.client import ClientRequest, ConnectError, ConnectFailed, HttpProxy

PROXY = HttpProxy(host="proxy.example", port=3128)


def unauthorized(challenge: str = 'Basic realm="staff"') -> ConnectFailed:
    """A server's 401."""
    headers = {"www-authenticate": challenge}
    return ConnectFailed(ConnectError.HTTP_STATUS, "401", status=401, headers=headers)


def proxy_unauthorized(challenge: str = 'Basic realm="office"') -> ConnectFailed:
    """A proxy's 407."""
    headers = {"proxy-authenticate": challenge}
    return ConnectFailed(ConnectError.PROXY_AUTHENTICATION, "407", status=407, headers=headers)


class Scene:
    """A server and a proxy that answer from a list, and a user who does.

    :ivar tries: the credentials of each try: the server's, the proxy's
    :ivar realms: what the user was asked about
    """

    def __init__(self, *answers: Any, user: tuple[tuple[str, str], ...] = (), reliable: bool = True) -> None:
        self.answers = list(answers)
        self.user = list(user)
        self.reliable = reliable
        self.tries: list[tuple[str, str]] = []
        self.realms: list[str] = []

    def connect(self, request: ClientRequest, proxy: HttpProxy | None) -> Deferred[Any]:
        """One try."""
        sent = [value for name, value in request.headers if name.lower() == "authorization"]
        assert len(sent) <= 1, "two Authorization headers"
        credentials = base64.b64decode(sent[0].removeprefix("Basic ")).decode() if sent else ""
        told = f"{proxy.user}:{proxy.password}" if proxy is not None and proxy.user is not None else ""
        self.tries.append((credentials, told))
        answer = self.answers.pop(0)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def ask_user(self, authenticator: Authenticator) -> Deferred[bool]:
        """The server's question."""
        self.realms.append(authenticator.realm)
        if self.user:
            authenticator.user, authenticator.password = self.user.pop(0)
        return succeed(self.reliable)

    def ask_proxy_user(self, proxy: HttpProxy, authenticator: Authenticator) -> Deferred[bool]:
        """The proxy's question."""
        assert proxy.host == "proxy.example"
        return self.ask_user(authenticator)


class DialTests(SynchronousTestCase):
    """Connecting, with the questions on the way."""

    def dial(self, scene: Scene, request: ClientRequest | None = None, proxy: Any = None) -> Deferred[Any]:
        """Dial in a scene."""
        request = ClientRequest(url="ws://example.com/") if request is None else request
        return Deferred.fromCoroutine(dial(scene.connect, request, proxy, scene))

    def refused(self, dialing: Deferred[Any]) -> ConnectFailed:
        """Why it failed."""
        failed = self.failureResultOf(dialing, ConnectFailed).value
        assert isinstance(failed, ConnectFailed)
        return failed

    def test_connects(self) -> None:
        """Nobody is asked where nobody asks."""
        scene = Scene("open")
        self.assertEqual(self.successResultOf(self.dial(scene)), "open")
        self.assertEqual((scene.tries, scene.realms), ([("", "")], []))

    def test_fails(self) -> None:
        """What is no question fails at once."""
        scene = Scene(ConnectFailed(ConnectError.TIMEOUT, "late"))
        self.assertEqual(self.refused(self.dial(scene)).error, ConnectError.TIMEOUT)
        self.assertEqual(len(scene.tries), 1)

    def test_asked(self) -> None:
        """A 401 asks the user, with the realm, and what is answered is sent."""
        scene = Scene(unauthorized(), "open", user=(("me", "secret"),))
        self.assertEqual(self.successResultOf(self.dial(scene)), "open")
        self.assertEqual(scene.tries, [("", ""), ("me:secret", "")])
        self.assertEqual(scene.realms, ["staff"])

    def test_realm(self) -> None:
        """A realm is a quoted string; without one it is empty."""
        for challenge, realm in (
            (r'Basic realm="the \"staff\" \\ office", charset="UTF-8"', r'the "staff" \ office'),
            ('bAsIc REALM="x"', "x"),
            ("Basic", ""),
            ('Negotiate, Basic realm="x"', "x"),
        ):
            scene = Scene(unauthorized(challenge))
            self.refused(self.dial(scene))
            self.assertEqual(scene.realms, [realm], challenge)

    def test_other_schemes(self) -> None:
        """Who takes no Basic authentication asks in vain, and no password goes out."""
        for challenge in ('Digest realm="staff", nonce="basic"', "", "Basically"):
            scene = Scene(unauthorized(challenge), user=(("me", "secret"),))
            self.refused(self.dial(scene))
            self.assertEqual((scene.tries, scene.realms), ([("", "")], []), challenge)

    def test_no_answer(self) -> None:
        """A question that nobody answers is the server's refusal."""
        scene = Scene(unauthorized())
        self.assertEqual(self.refused(self.dial(scene)).status, 401)
        self.assertEqual(len(scene.tries), 1)

    def test_unreliable_answer(self) -> None:
        """What a slot filled in before it broke is not sent."""
        scene = Scene(unauthorized(), user=(("me", "secret"),), reliable=False)
        self.refused(self.dial(scene))
        self.assertEqual(len(scene.tries), 1)

    def test_same_answer_twice(self) -> None:
        """An answer that was refused is not sent again."""
        scene = Scene(unauthorized(), unauthorized(), user=(("me", "wrong"), ("me", "wrong")))
        self.refused(self.dial(scene))
        self.assertEqual(scene.tries, [("", ""), ("me:wrong", "")])

    def test_another_answer(self) -> None:
        """The user may correct himself, three times asked in all."""
        scene = Scene(*[unauthorized()] * 4, user=(("me", "1"), ("me", "2"), ("me", "3"), ("me", "4")))
        self.refused(self.dial(scene))
        self.assertEqual([sent for sent, _ in scene.tries], ["", "me:1", "me:2", "me:3"])
        self.assertEqual(len(scene.realms), 3)

    def test_credentials_of_the_url(self) -> None:
        """They are sent when the server asks, not before, and nobody else is asked."""
        request = ClientRequest(url="ws://me:s%3Acret@example.com/")
        scene = Scene(unauthorized(), "open")
        self.assertEqual(self.successResultOf(self.dial(scene, request)), "open")
        self.assertEqual([sent for sent, _ in scene.tries], ["", "me:s:cret"])
        self.assertEqual(scene.realms, [])

    def test_wrong_credentials_of_the_url(self) -> None:
        """When the server refuses them, the user is asked."""
        request = ClientRequest(url="ws://me:wrong@example.com/")
        scene = Scene(unauthorized(), unauthorized(), "open", user=(("me", "right"),))
        self.successResultOf(self.dial(scene, request))
        self.assertEqual([sent for sent, _ in scene.tries], ["", "me:wrong", "me:right"])

    def test_header_of_the_program(self) -> None:
        """An Authorization header that the program gave makes way for the answer."""
        request = ClientRequest(
            url="ws://example.com/", headers=(("AUTHORIZATION", Authenticator("", "x", "y").basic()),)
        )
        scene = Scene(unauthorized(), "open", user=(("me", "secret"),))
        self.successResultOf(self.dial(scene, request))
        self.assertEqual([sent for sent, _ in scene.tries], ["x:y", "me:secret"])

    def test_proxy_asks(self) -> None:
        """A 407 asks for the proxy, and the answer goes to the proxy alone."""
        scene = Scene(proxy_unauthorized(), "open", user=(("me", "secret"),))
        self.assertEqual(self.successResultOf(self.dial(scene, proxy=PROXY)), "open")
        self.assertEqual(scene.tries, [("", ""), ("", "me:secret")])
        self.assertEqual(scene.realms, ["office"])

    def test_same_answer_for_the_proxy(self) -> None:
        """What the proxy has refused is not sent to it again."""
        proxy = HttpProxy(host="proxy.example", port=3128, user="me")
        scene = Scene(proxy_unauthorized(), user=(("me", ""),))
        self.refused(self.dial(scene, proxy=proxy))
        self.assertEqual(len(scene.tries), 1)

    def test_both_ask(self) -> None:
        """Proxy and server each get their own."""
        scene = Scene(proxy_unauthorized(), unauthorized(), "open", user=(("a", "1"), ("b", "2")))
        self.successResultOf(self.dial(scene, proxy=PROXY))
        self.assertEqual(scene.tries, [("", ""), ("", "a:1"), ("b:2", "a:1")])

    def test_a_proxy_with_401(self) -> None:
        """A proxy that answers 401, as no proxy does, gets nothing of what is for the server."""
        headers = {"www-authenticate": "Basic"}
        scene = Scene(
            ConnectFailed(ConnectError.PROXY, "401", status=401, headers=headers), user=(("me", "secret"),)
        )
        self.refused(self.dial(scene, ClientRequest(url="ws://me:pw@example.com/"), PROXY))
        self.assertEqual((scene.tries, scene.realms), ([("", "")], []))


class AttemptTests(SynchronousTestCase):
    """An attempt that can be given up."""

    def setUp(self) -> None:
        self.cancelled: list[str] = []
        self.waiting: Deferred[str] = Deferred(lambda _: self.cancelled.append("given up"))

    async def dialing(self) -> str:
        """Takes as long as the test wants."""
        return await self.waiting

    def test_runs(self) -> None:
        """It gives what dialing gives, and cannot be given up any more then."""
        attempt = Attempt()
        result = attempt.run(self.dialing())
        self.waiting.callback("open")
        self.assertEqual(self.successResultOf(result), "open")
        attempt.cancel()
        self.assertEqual(self.cancelled, [])

    def test_given_up(self) -> None:
        """It is given up, once."""
        attempt = Attempt()
        result = attempt.run(self.dialing())
        attempt.cancel()
        attempt.cancel()
        self.failureResultOf(result)
        self.assertEqual(self.cancelled, ["given up"])

    def test_given_up_early(self) -> None:
        """Also by a slot that is told of its very beginning."""
        attempt = Attempt()

        async def dialing() -> str:
            attempt.cancel()
            return await self.waiting

        self.failureResultOf(attempt.run(dialing()))
        self.assertEqual(self.cancelled, ["given up"])


class SocketErrorTests(SynchronousTestCase):
    """What failed, in Qt's words."""

    def test_each_has_a_name(self) -> None:
        """Each reason of the wire has one of Qt's errors."""
        names = {error.name: socket_error(error).name for error in ConnectError}
        self.assertEqual(len(names), len(ConnectError))
        self.assertEqual(names["HTTP_STATUS"], "CONNECTION_REFUSED")
        self.assertEqual(socket_error(ConnectError.TLS), SocketError.SSL_HANDSHAKE_FAILED)
        self.assertNotIn("UNKNOWN_SOCKET_ERROR", names.values())
