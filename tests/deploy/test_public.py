"""Tests for docs/how-to/deploy/public.md: the configuration, its table, nginx in front, and the alerts."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.checkout import CHECKOUT
from tests.deploy.proxying import CLIENT, PAGES, Page, Place, nginx
from tests.serving import TIMEOUT, run_python
from wsecho.app.configuration import read_configuration
from wsecho.policy.end_reasons import EndReason
from wsecho.policy.metrics import metric
from wsecho.policy.options import option
from wsecho.wire.frames import frame_head

CONFIGURATION = CHECKOUT / "deploy" / "wsecho.toml"
ALERTS = CHECKOUT / "deploy" / "prometheus" / "wsecho.rules.yml"


class ConfigurationTests(SynchronousTestCase):
    """deploy/wsecho.toml."""

    def setUp(self) -> None:
        """Read it."""
        self.configuration = read_configuration({"config": [str(CONFIGURATION)]})
        self.page = (PAGES / "public.md").read_text(encoding="utf-8")

    def test_valid(self) -> None:
        """wsecho finds nothing wrong with it."""
        said = run_python("-m", "wsecho", "check-config", f"--config={CONFIGURATION}")
        self.assertIn("valid", said)

    def test_table(self) -> None:
        """The page says what each of its limits means, with its value, and names no other."""
        rows = re.findall(r"^\| \[`([a-z-]+)`\]\(#option-\1\) \| (\S.*?) \|", self.page, re.MULTILINE)
        explained_elsewhere = {"listen", "admin", "log-format"}
        given = {name for name, setting in self.configuration.values.items() if setting.is_given}
        self.assertEqual({name for name, _ in rows}, given - explained_elsewhere - {"config"})
        for name, shown in rows:
            value = self.configuration[name]
            if isinstance(value, tuple):
                expected = f"`{value[0].removesuffix('/32')}`"
            elif value is True:
                expected = "on"
            else:
                expected = option(name).format(value)
            self.assertEqual(shown.replace(" ", ""), expected, name)

    def test_memory(self) -> None:
        """What all connections may need at most is less than the system lets the server have."""
        settings = self.configuration.settings()
        one = 256 * 1024 + settings.max_message_size + settings.send_queue + settings.max_message_size
        self.assertEqual(one, 512 * 1024)
        unit = (CHECKOUT / "deploy" / "systemd" / "public.conf").read_text(encoding="utf-8")
        limits = {
            name: int(mebibytes)
            for name, mebibytes in re.findall(r"^(Memory\w+)=(\d+)M$", unit, re.MULTILINE)
        }
        self.assertLess(settings.max_connections * one / 1024**2 + 64, limits["MemoryHigh"])
        self.assertLess(limits["MemoryHigh"], limits["MemoryMax"])


class NginxTests(SynchronousTestCase):
    """The server with this configuration, behind nginx with the page's."""

    def test_limits(self) -> None:
        """A visitor of any origin is echoed to, and held to the limits; channels are not there."""
        if shutil.which("nginx") is None:
            raise SkipTest("there is no nginx; it is in Debian's package of that name")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        place = Place(folder)
        (block,) = [text for text in Page("public").configurations if "limit_conn" in text]
        command = ["wsecho", f"--config={CONFIGURATION}", "--listen=tcp:9000:interface=127.0.0.1"]
        # Sockets of systemd are not there; and the start line is read as text.
        more = ["--admin=tcp:0:interface=127.0.0.1", "--log-format=text"]
        with (
            place.wsecho(command, *more) as backend,
            nginx(place, block, backend) as proxied,
            ExitStack() as stack,
        ):
            lie = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
            self.assertEqual(proxied.whoami(additional_headers=lie)["peer"], CLIENT)
            client = stack.enter_context(proxied.connect("/", origin="https://anywhere.example"))
            client.send("x" * 64 * 1024)
            self.assertEqual(len(client.recv(TIMEOUT)), 64 * 1024)
            # Announced only: nginx resets the connection of a client that goes on sending, and the client may
            # meet that before it has read the Close.
            with client.protocol_mutex:
                client.socket.sendall(frame_head(0x81, 64 * 1024 + 1, 0x80) + bytes(4))
            with self.assertRaises(ConnectionClosed) as closed:
                client.recv(TIMEOUT)
            assert closed.exception.rcvd is not None
            self.assertEqual(closed.exception.rcvd.code, 1009)
            for path, status in (("/broadcast/kitchen", 404), ("/nowhere", 404)):
                with self.assertRaises(InvalidStatus) as refused:
                    proxied.connect(path)
                self.assertEqual(refused.exception.response.status_code, status)
            with self.assertRaises(InvalidStatus) as refused:
                for _ in range(30):
                    stack.enter_context(proxied.connect("/"))
            self.assertEqual(refused.exception.response.status_code, 429)


class AlertTests(SynchronousTestCase):
    """deploy/prometheus."""

    def test_names(self) -> None:
        """Each metric, and each reason for an end, is one that there is; numbers are those of the limits."""
        text = ALERTS.read_text(encoding="utf-8")
        expressions = re.findall(r"expr: (.+)", text)
        self.assertEqual(len(expressions), text.count("- alert:"))
        for name in re.findall(r"wsecho_\w+", " ".join(expressions)):
            metric(name)
        for reason in re.findall(r'reason="([a-z-]+)"', text):
            EndReason(reason)
        connections = read_configuration({"config": [str(CONFIGURATION)]})["max-connections"]
        assert isinstance(connections, int)
        self.assertIn(f"wsecho_connections_open) > {connections * 9 // 10}", text)

    def test_promtool(self) -> None:
        """Prometheus finds nothing wrong with them."""
        if shutil.which("promtool") is None:
            raise SkipTest("there is no promtool; it is in Debian's package prometheus")
        done = subprocess.run(
            ["promtool", "check", "rules", str(ALERTS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("7 rules found", done.stdout)
