"""Tests of running the server that is judged, with servers made for the purpose."""

import os
import select
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from conformance import server
from conformance.server import (
    Server,
    ServerError,
    fill_template,
    log_faults,
    make_certificate,
    started_command,
    started_wsecho,
    urls_in,
    wsecho_command,
)

WS = "2026-11-21 [-] listening on ws://127.0.0.1:4711/ : / and /echo echo\n"
WSS = "2026-11-21 [-] listening on wss://127.0.0.1:4712/ : / and /echo echo\n"

# A server as the judge sees one: it tells that it is there, and SIGTERM ends it with status 0.
SERVING = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print({WS + WSS!r}, end="", flush=True)
while True:
    signal.pause()
"""

LISTENING = """
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


class ServerTestCase(SynchronousTestCase):
    """A test with a folder of its own that ends the servers it starts."""

    def setUp(self) -> None:
        """Make the folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"

    def start(self, script: str, arguments: Sequence[str] = ()) -> Server:
        """Start a server that is a script of Python."""
        running = Server([sys.executable, "-u", "-c", script, *arguments], self.folder, self.log)
        self.addCleanup(running.end)
        return running


class LogTests(SynchronousTestCase):
    """What the server's log tells."""

    def test_start_lines_tell_the_urls(self) -> None:
        """The URL of each transport is read from its start line."""
        self.assertEqual(
            urls_in(f"starting\n{WS}{WSS}"), {"ws": "ws://127.0.0.1:4711/", "wss": "wss://127.0.0.1:4712/"}
        )

    def test_an_unfinished_line_tells_nothing_yet(self) -> None:
        """A line that is still being written could break in the middle of the port."""
        self.assertEqual(urls_in(f"{WS}{WSS.rstrip()}"), {"ws": "ws://127.0.0.1:4711/"})

    def test_a_unix_listener_is_none_that_can_be_judged(self) -> None:
        """Only ws and wss have an address that the client can use."""
        self.assertEqual(urls_in("listening on ws+unix:/run/wsecho : / echo\n"), {})

    def test_of_two_listeners_alike_the_first_is_taken(self) -> None:
        """A second listener of a transport does not replace the first."""
        self.assertEqual(urls_in(WS + WS.replace("4711", "4713"))["ws"], "ws://127.0.0.1:4711/")

    def test_unhandled_exceptions_are_faults(self) -> None:
        """Lines of Twisted's log about exceptions that nobody handled are found, others not."""
        log = "all is well\n[-] Unhandled error in Deferred:\n\tTraceback (most recent call last):\nbye\n"
        self.assertEqual(
            log_faults(log), ["[-] Unhandled error in Deferred:", "\tTraceback (most recent call last):"]
        )


class CommandTests(ServerTestCase):
    """The commands that start servers."""

    def test_wsecho_is_started_as_users_start_it(self) -> None:
        """`twistd -n wsecho` of this environment: two listeners, room for 16 MiB, compression."""
        command = wsecho_command(Path("/c.pem"), Path("/k.pem"))
        self.assertEqual(command[0], server.beside_python("twistd"))
        self.assertEqual(command[1:4], ["-n", "--pidfile=", "wsecho"])
        for option in (
            "--listen=tcp:0:interface=127.0.0.1",
            "--listen-tls=tcp:0:interface=127.0.0.1",
            "--certificate=/c.pem",
            "--private-key=/k.pem",
            "--compression=deflate",
            "--max-message-size=16MiB",
            "--max-frame-size=16MiB",
        ):
            self.assertIn(option, command)

    def test_a_command_beside_the_interpreter_is_preferred(self) -> None:
        """The environment that runs the judge is the one that gets judged."""
        script = self.folder / "bin" / "twistd"
        script.parent.mkdir()
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        self.patch(sys, "executable", str(self.folder / "bin" / "python"))
        self.assertEqual(server.beside_python("twistd"), str(script))

    def test_a_command_that_is_nowhere_is_an_error(self) -> None:
        """A missing command is named."""
        error = self.assertRaises(ServerError, server.beside_python, "no-such-command")
        self.assertIn("no no-such-command command", str(error))

    def test_places_in_a_template_are_filled(self) -> None:
        """Words are split as a shell does, and then filled: a path with spaces stays one word."""
        values = {"scheme": "wss", "port": 4711, "cert": Path("/a b"), "key": "k"}
        self.assertEqual(
            fill_template("serve '--url={scheme}://x:{port}' {cert}", values),
            ["serve", "--url=wss://x:4711", "/a b"],
        )

    def test_a_wrong_template_is_refused(self) -> None:
        """Unknown places, open quotes and an empty command are told before anything starts."""
        for template in ("serve {prot}", "serve {}", "serve {0}", "serve {port", "serve 'x", "", " "):
            self.assertRaises(ValueError, fill_template, template, {"port": 1})

    def test_the_certificate_and_the_key_belong_together(self) -> None:
        """What is made for wss can be loaded for wss."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*make_certificate(self.folder))
        self.assertEqual(len(list(self.folder.glob("*.pem"))), 2)


class StartTests(ServerTestCase):
    """The judge waits for the server until it serves, ends, or has had its time."""

    def test_a_server_that_tells_its_urls_is_ready(self) -> None:
        """As soon as both start lines are there the URLs are known."""
        running = self.start(SERVING)
        self.assertEqual(set(running.wait_for_urls(["ws", "wss"])), {"ws", "wss"})
        self.assertIsNone(running.status)
        self.assertFalse(running.died)

    def test_a_server_that_ends_is_told_with_its_log(self) -> None:
        """A server that refuses its options is not waited for; what it said is in the error, escaped."""
        running = self.start("import sys; print('wrong \\x1b option'); sys.exit(1)")
        error = self.assertRaises(ServerError, running.wait_for_urls, ["ws"])
        self.assertIn("ended with status 1 before it served", str(error))
        self.assertIn("wrong \\x1b option", str(error))

    def test_a_server_that_tells_nothing_is_given_up(self) -> None:
        """A server without a start line for one of the transports is an error after a while."""
        self.patch(server, "_START_SECONDS", 0.2)
        running = self.start(SERVING.replace(WSS.encode("unicode_escape").decode(), ""))
        error = self.assertRaises(ServerError, running.wait_for_urls, ["ws", "wss"])
        self.assertIn("names no listener for ws and wss", str(error))

    def test_a_command_that_does_not_exist(self) -> None:
        """A server that is not installed is one error line."""
        error = self.assertRaises(ServerError, Server, [str(self.folder / "none")], self.folder, self.log)
        self.assertIn("cannot be started", str(error))

    def test_a_port_is_ready_when_somebody_listens(self) -> None:
        """A server that says nothing is ready when its port can be connected to."""
        port = server.free_port()
        self.start(LISTENING, [str(port)]).wait_for_port(port)
        socket.create_connection(("127.0.0.1", port)).close()

    def test_a_port_that_nobody_listens_on(self) -> None:
        """A server that ends without listening is not waited for."""
        error = self.assertRaises(ServerError, self.start("").wait_for_port, server.free_port())
        self.assertIn("ended with status 0", str(error))


class EndTests(ServerTestCase):
    """Nothing of a server is left."""

    def test_sigterm_ends_it_and_the_status_is_kept(self) -> None:
        """A server that handles SIGTERM ends with its status, also when ended twice; it did not die."""
        running = self.start(SERVING.replace("sys.exit(0)", "sys.exit(7)"))
        running.wait_for_urls(["ws"])
        self.assertEqual((running.end(), running.end()), (7, 7))
        self.assertFalse(running.died)

    def test_one_that_ends_by_itself_has_died(self) -> None:
        """A server that nobody ended is told apart."""
        running = self.start("")
        running._process.wait()
        self.assertTrue(running.died)

    def test_one_that_ignores_sigterm_is_killed(self) -> None:
        """A server that does not end in time is made to."""
        self.patch(server, "_STOP_SECONDS", 0.2)
        running = self.start(SERVING.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN"))
        running.wait_for_urls(["ws"])
        self.assertEqual(running.end(), -signal.SIGKILL)
        self.assertIsNotNone(running.status)

    def test_its_children_end_with_it(self) -> None:
        """A process that the server started and left behind is ended too."""
        alive = self.folder / "alive"
        os.mkfifo(alive)
        reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        child = f"import subprocess; subprocess.Popen(['sleep', '600'], stdout=open({str(alive)!r}, 'w'))\n"
        running = self.start(child + SERVING)
        running.wait_for_urls(["ws"])
        self.assertEqual(select.select([reader], [], [], 0)[0], [])
        running.end()
        # The end of the file comes when nobody can write any more: neither the server nor its child.
        self.assertEqual(select.select([reader], [], [], 10)[0], [reader])


class StartedTests(ServerTestCase):
    """The two kinds of server as context managers."""

    def test_wsecho_gives_both_urls_and_is_ended(self) -> None:
        """Inside, both transports are there; after it the process is gone, even when the judge failed."""
        self.patch(server, "wsecho_command", lambda *_: [sys.executable, "-c", SERVING])
        servers = []

        def judge() -> None:
            with started_wsecho(self.folder, self.log) as (running, urls):
                servers.append(running)
                self.assertEqual(set(urls), {"ws", "wss"})
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, judge)
        self.assertEqual([running.status for running in servers], [0])

    def test_a_wsecho_that_does_not_start_is_ended(self) -> None:
        """A server without start lines is not left running."""
        self.patch(server, "_START_SECONDS", 0.2)
        script = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
        self.patch(server, "wsecho_command", lambda *_: [sys.executable, "-c", script])
        self.assertRaises(ServerError, started_wsecho(self.folder, self.log).__enter__)
        if pid := self.log.read_text().strip():
            self.assertRaises(ProcessLookupError, os.kill, int(pid), 0)

    def test_another_server_is_told_where_to_listen(self) -> None:
        """A server started by template listens where it was told, and the URL says so."""
        script = self.folder / "listen.py"
        script.write_text(LISTENING)
        with started_command(
            f"{sys.executable} {script} {{port}} {{scheme}}", "wss", self.folder, self.log
        ) as (running, url):
            host, port = url.removeprefix("wss://").removesuffix("/").split(":")
            socket.create_connection((host, int(port))).close()
        self.assertEqual(running.status, -signal.SIGTERM)
