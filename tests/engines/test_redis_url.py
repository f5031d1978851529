"""Tests for wsecho.engines.redis_url."""

from twisted.trial.unittest import SynchronousTestCase

from wsecho.engines.redis_url import RedisAddress, parse_redis_url


class ParsingTests(SynchronousTestCase):
    """What is read."""

    def test_shortest(self) -> None:
        """A host is enough: port 6379, database 0, nobody in particular, no TLS."""
        self.assertEqual(parse_redis_url("redis://example.com"), RedisAddress(host="example.com"))

    def test_everything(self) -> None:
        """User, password, port, database and settings are taken; what is percent-encoded is decoded."""
        url = "rediss://ann:p%40ss%2F@[::1]:7000/3?ca=/etc/ca.pem&heartbeat=500ms&wait=2s"
        self.assertEqual(
            parse_redis_url(url),
            RedisAddress(
                host="::1",
                port=7000,
                database=3,
                is_tls=True,
                user="ann",
                password="p@ss/",
                ca="/etc/ca.pem",
                heartbeat=0.5,
                wait=2.0,
            ),
        )

    def test_password_alone(self) -> None:
        """Redis before users knew a password alone, and still takes it."""
        address = parse_redis_url("redis://:secret@h")
        self.assertEqual((address.user, address.password), ("", "secret"))

    def test_text_has_no_password(self) -> None:
        """Neither text of an address has its password or user."""
        address = parse_redis_url("redis://ann:secret@h:1/2")
        self.assertEqual(str(address), "redis://h:1/2")
        self.assertNotIn("secret", repr(address))
        self.assertEqual(str(parse_redis_url("rediss://[::1]")), "rediss://[::1]:6379/0")


class RefusalTests(SynchronousTestCase):
    """What is not."""

    def test_refused(self) -> None:
        """Whatever is wrong is refused with one line that says what is accepted and quotes no password."""
        for url, word in (
            ("http://:secret@h", "scheme"),
            ("redis://", "host"),
            ("redis://:secret@", "host"),
            ("redis://:secret@h:99999", "port"),
            ("redis://:secret@h:0", "port"),
            ("redis://:secret@h:x", "port"),
            ("redis://:sec#ret@h", "%23"),
            ("redis://ann@h", "password"),
            ("redis://:secret@h/zero", "database"),
            ("redis://:secret@h/0/1", "database"),
            ("redis://:secret@h/-1", "database"),
            ("redis://:secret@h/1234567", "database"),
            ("redis://:secret@h?secret", "setting=value"),
            ("redis://:secret@h?unheard=secret", "heartbeat"),
            ("redis://:secret@h?wait=1s&wait=2s", "twice"),
            ("redis://:secret@h?wait=secret", "duration"),
            ("redis://:secret@h?heartbeat=1ms", "duration"),
            ("redis://:secret@h?heartbeat=10m", "duration"),
            ("redis://:secret@h?ca=/x", "rediss"),
            ("rediss://:secret@h?ca=", "certificates"),
            ("redis://[::1", "host"),
        ):
            error = self.assertRaises(ValueError, parse_redis_url, url)
            text = str(error)
            self.assertIn(word, text, url)
            self.assertTrue(text.startswith("redis: ") and "\n" not in text and "secret" not in text, text)
            self.assertNotIn("sec", text.replace("seconds", ""), url)
