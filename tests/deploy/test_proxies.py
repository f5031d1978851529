"""Tests for the pages of docs/how-to/deploy about proxies: each configuration, in front of a real server."""

from tests.deploy import proxying


class NginxTests(proxying.ProxyTestCase):
    """nginx, which ends TLS."""

    page = "nginx"


class NginxStreamTests(proxying.ProxyTestCase):
    """nginx, which passes TLS on."""

    page = "nginx"
    number = 1
    is_passed_on = True


class HaproxyTests(proxying.ProxyTestCase):
    """HAProxy, which ends TLS."""

    page = "haproxy"

    def test_header(self) -> None:
        """Instead of the PROXY protocol, a header tells the client's address."""
        with self.behind(**{" send-proxy-v2": "\n    option forwardfor"}) as proxied:
            told = proxied.whoami()
            self.assertEqual((told["peer"], told["headers"]["x-forwarded-for"]), (proxying.CLIENT,) * 2)


class HaproxyPassingTests(proxying.ProxyTestCase):
    """HAProxy, which passes TLS on."""

    page = "haproxy"
    number = 1
    is_passed_on = True


class CaddyTests(proxying.ProxyTestCase):
    """Caddy, which ends TLS, and nothing else."""

    page = "caddy"
    is_idle_ended = False
