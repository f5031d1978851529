"""What the page can do beyond sending and showing a message: in Chromium, from a running server."""

from __future__ import annotations

from urllib.parse import parse_qs

from selenium.webdriver.common.keys import Keys

from tests.web.browser import Line, both_ways
from tests.web.in_a_browser import InABrowser


class CloseTests(InABrowser):
    """How a connection is closed, and what is told of a close."""

    def test_code_and_reason(self) -> None:
        """The page closes with the code and the reason that were chosen."""
        page = self.page
        page.connect()
        page.run("document.getElementById('closing').open = true")
        page.fill("code", "4001")
        page.fill("reason", "so long")
        page.element("toggle").click()
        page.wait_for_state("Closed: 4001")
        page.wait(lambda: page.lines[-1].body, "Closed: 4001 Private Use, \u201cso long\u201d, clean")
        self.assertEqual(
            page.element("closed").text,
            "4001 Private Use, \u201cso long\u201d, clean: what the program on both sides has agreed on",
        )

    def test_wrong_code(self) -> None:
        """A code that a browser does not send is told where it is typed, and the connection stays."""
        page = self.page
        page.connect()
        page.fill("code", "1001")
        page.element("toggle").click()
        page.wait(lambda: page.element("close-problem").text.startswith("A browser closes with 1000,"))
        self.assertEqual((page.focused.get_attribute("id"), page.state), ("code", "Connected"))
        page.fill("code", "")
        page.element("toggle").click()
        page.wait_for_state("Closed: 1005")
        self.assertEqual(page.element("close-problem").text, "")
        page.wait(lambda: page.lines[-1].body, "Closed: 1005 No Status Rcvd, clean")


class SubprotocolTests(InABrowser):
    """What is agreed on in the opening handshake."""

    def listener(self) -> tuple[list[str], list[str]]:
        """A server that speaks a subprotocol and compresses."""
        more = ["--subprotocol=chat", "--compression=deflate"]
        return ["--host=127.0.0.1", "--port=0", *more], []

    def test_agreed(self) -> None:
        """The page shows the subprotocol and the extensions that were agreed on, and how long it took."""
        page = self.page
        page.fill("subprotocols", "other, chat")
        page.connect()
        self.assertEqual(page.element("subprotocol").text, "chat")
        self.assertTrue(page.element("extensions").text.startswith("permessage-deflate"))
        self.assertTrue(page.element("opened").text.endswith("s"))
        self.assertTrue(page.lines[0].body.endswith("/echo, subprotocol chat"))

    def test_not_agreed(self) -> None:
        """When nothing is agreed on, the browser fails the connection, and the page says what may be why."""
        page = self.page
        page.fill("subprotocols", "other, another")
        page.element("toggle").click()
        page.wait_for_state("Could not connect")
        line = "Perhaps it speaks none of the subprotocols: other, another."
        page.wait(lambda: page.lines[-1].body.endswith(line))
        self.assertIn("Sec-WebSocket-Protocol", page.console[0]["message"])


class TestEndpointTests(InABrowser):
    """The programmable echo, from the page."""

    def listener(self) -> tuple[list[str], list[str]]:
        """A server with test endpoints."""
        return ["--host=127.0.0.1", "--port=0", "--test-endpoints"], []

    def test_knobs(self) -> None:
        """Knobs are offered with an example and what they do, and the server does it."""
        page = self.page
        page.choose("test")
        page.pick("knob", "close=CODE")
        self.assertEqual(page.element("query").get_attribute("value"), "close=4001&reason=so+long&after=1")
        effect = "close=CODE: The server closes with that code, once the echo of the last message is sent."
        self.assertTrue(page.element("knob-effect").text.startswith(effect))
        page.pick("knob", "delay=DURATION")
        page.connect("test")
        self.assertTrue(page.lines[0].body.endswith("/test?close=4001&reason=so+long&after=1&delay=200ms"))
        page.type("text", "one")
        page.wait_for_state("Closed: 4001")
        page.wait(lambda: page.lines[-1].body, "Closed: 4001 Private Use, \u201cso long\u201d, clean")
        page.wait_for_messages(*both_ways("text", "3 B", "one"))
        page.wait(lambda: page.element("latency-last").text.endswith("s"))
        # Under load it may be seconds.
        number, unit = page.element("latency-last").text.split()
        self.assertGreaterEqual(float(number) * {"ms": 1, "s": 1000}[unit], 200)

    def test_abort(self) -> None:
        """A connection that is reset is shown as such."""
        page = self.page
        page.fill("query", "abort=1")
        page.connect("test")
        page.type("text", "one")
        page.wait_for_state("Closed: 1006")
        page.wait(lambda: page.lines[-1].body, "Closed: 1006 Abnormal Closure, not clean")

    def test_bad_frame(self) -> None:
        """A frame that is not allowed ends the connection; the browser says more in its console."""
        page = self.page
        page.fill("query", "bad=rsv")
        page.choose("test")
        page.element("toggle").click()
        page.wait_for_state("Closed: 1006")
        self.assertTrue(page.console)

    def test_no_answer(self) -> None:
        """A server that does not answer a Close need not be waited for."""
        page = self.page
        page.fill("query", "read=stop")
        page.connect("test")
        page.element("toggle").click()
        page.wait_for_state("Closing\u2026")
        self.assertEqual(page.element("toggle").text, "Wait no longer")
        page.element("toggle").click()
        page.wait_for_state("Closed: 1006")
        page.wait(lambda: page.lines[-1].body, "Closed without waiting for the server")
        self.assertEqual(page.element("toggle").text, "Connect")

    def test_hash_in_query(self) -> None:
        """What a browser would not send is told."""
        self.page.choose("test")
        self.page.fill("query", "reason=#1")
        expected = "Write # as %23: behind it nothing is sent to a server."
        self.page.wait(lambda: self.page.element("connection-problem").text, expected)


class ManyTests(InABrowser):
    """Many messages at once."""

    def send_many(self, **fields: str) -> None:
        """Fill the form and send."""
        self.page.run("document.getElementById('many').open = true")
        for name, value in fields.items():
            self.page.fill(name, value)
        self.page.element("start").click()

    def test_generated(self) -> None:
        """So many messages go as were asked for, of the sizes that were, and the log says how fast."""
        page = self.page
        page.connect()
        self.send_many(count="5", content="text", **{"from": "4", "to": "12"}, sizes="growing")
        texts = ["1 ab", "2 abcd", "3 abcdef", "4 abcdefgh", "5 abcdefghij"]
        page.wait(lambda: [line.body for line in page.lines if line.direction == "received"], texts)
        note = next(line.body for line in page.lines[1:] if line.direction == "note")
        self.assertRegex(note, r"^Sent 5 messages, 40 B, in 0\.\d{3} s, [\d,.]+ messages/s$")
        self.assertEqual(page.element("progress-text").text, "5 of 5")
        page.wait(lambda: page.element("start").text, "Send 5")

    def test_bytes_and_message(self) -> None:
        """Bytes can be generated too, and the message above can be sent again and again."""
        page = self.page
        page.connect()
        self.send_many(count="2", content="bytes", **{"from": "0", "to": "0"})
        page.wait(lambda: page.element("received").text, "2")
        page.wait(lambda: page.lines[-1], Line("received", "binary", "0 B", "empty"))
        page.fill("text", "again")
        self.send_many(count="3", content="message")
        page.wait(lambda: page.element("received").text, "5")
        page.wait(lambda: page.lines[-1], Line("received", "text", "5 B", "again"))
        self.assertEqual(page.element("text").get_attribute("value"), "again")

    def test_interval_and_stop(self) -> None:
        """Messages go at an interval, and no more of them once somebody has stopped."""
        page = self.page
        page.connect()
        self.send_many(count="100000", pace="interval", interval="20", content="text")
        page.wait(lambda: int(page.element("received").text) >= 3)
        self.assertEqual(page.element("start").text, "Stop")
        self.assertTrue(page.element("progress").is_displayed())
        # The same button, which keeps the focus: keys stop as well as they start.
        page.press(Keys.ENTER)
        page.wait(lambda: page.element("start").text, "Send 100000")
        page.wait(lambda: any(line.body.startswith("Stopped after ") for line in page.lines))
        self.assertFalse(page.element("progress").is_displayed())

    def test_connection_ends(self) -> None:
        """A run ends with its connection, and says so."""
        page = self.page
        page.connect()
        self.send_many(count="100000", pace="interval", interval="20")
        page.wait(lambda: int(page.element("sent").text) >= 2)
        page.element("toggle").click()
        page.wait_for_state("Closed: 1000")
        page.wait(lambda: any(line.body.startswith("The connection ended after ") for line in page.lines))

    def test_what_is_wrong(self) -> None:
        """A number out of bounds, or no connection, is told where it is."""
        page = self.page
        problem = page.element("run-problem")
        for fields, line in (
            ({"count": "0"}, "Messages: a whole number from 1 to 1,000,000."),
            (
                {"count": "1", "content": "text", "from": "9", "to": "8"},
                "Bytes, to: a whole number from 9 to 16,777,216.",
            ),
            ({"to": "9", "pace": "interval", "interval": "0"}, "Interval: a whole number from 1 to 60,000."),
            ({"interval": "1"}, "Not connected."),
        ):
            self.send_many(**fields)
            page.wait(lambda: problem.text, line)
        page.choose("hex")
        page.fill("hex", "0")
        self.send_many(content="message")
        page.wait(lambda: problem.text.startswith("1 digits: the last has no partner."))

    def test_flood(self) -> None:
        """Twenty thousand messages pass, the page goes on drawing, and what it holds stays bounded."""
        page = self.page
        page.connect()
        page.run(
            "window.frames = 0; const count = () => { frames += 1; requestAnimationFrame(count); }; count();"
        )
        self.send_many(count="20000", content="text")
        page.wait(lambda: page.element("received").text, "20,000")
        self.assertGreater(page.run("return frames"), 10)
        page.wait(lambda: page.lines[-1].body.startswith("20000 "))
        self.assertEqual(len(page.lines), 500)
        # Nobody can listen to that.
        self.assertEqual(page.element("log").get_attribute("aria-live"), "off")


class SetupTests(InABrowser):
    """The setup in the link, the theme, and what is fetched from where."""

    def link(self) -> dict[str, list[str]]:
        """What the page's address has behind the #."""
        return parse_qs(self.page.run("return location.hash.slice(1)"))

    def test_kept(self) -> None:
        """What is chosen and typed stands in the link, and what is as it was does not."""
        page = self.page
        self.assertEqual(self.link(), {})
        page.choose("broadcast")
        page.element("channel").send_keys("kitchen")
        page.choose("hex")
        page.fill("hex", "00 ff")
        page.fill("count", "7")
        expected = {
            "service": ["broadcast"],
            "channel": ["kitchen"],
            "kind": ["hex"],
            "hex": ["00 ff"],
            "count": ["7"],
        }
        page.wait(self.link, expected)
        page.choose("echo")
        page.wait(lambda: "service" in self.link(), False)

    def test_opened(self) -> None:
        """A link sets the fields, opens the parts that they are in, and does nothing else."""
        page = self.page.another(
            "service=broadcast&channel=kitchen&kind=hex&hex=00+ff&count=7&code=4000&text=hi"
        )
        page.wait(lambda: page.element("address").text.endswith("/broadcast/kitchen"))
        self.assertEqual(page.element("hex").get_attribute("value"), "00 ff")
        self.assertEqual((page.element("start").text, page.element("code").is_displayed()), ("Send 7", True))
        self.assertEqual((page.state, page.lines), ("Not connected", []))
        page.element("toggle").click()
        page.wait_for_state("Connected")
        page.press_send()
        page.wait_for_messages(Line("sent", "binary", "2 B", "00 ff"))
        # The sent text leaves the link as it leaves the field.
        page.wait(lambda: "hex=" in page.run("return location.hash"), False)

    def test_changed(self) -> None:
        """Another link in an open page sets the fields anew, but never those of an open connection."""
        page = self.page
        page.run("location.hash = 'service=other&path=/echo?a=b'")
        page.wait(lambda: page.element("address").text.endswith("/echo?a=b"))
        page.element("toggle").click()
        page.wait_for_state("Connected")
        page.run("location.hash = 'service=broadcast'")
        page.wait(lambda: page.run("return location.hash"), "#service=broadcast")
        self.assertTrue(page.element("address").text.endswith("/echo?a=b"))

    def test_nonsense(self) -> None:
        """What a link names that is not there is ignored, and so is all that is not a field."""
        page = self.page.another(
            "service=test&kind=%22%5D&pace=x&from=x&theme=dark&file=a&__proto__=1&text=" + "x" * 3000
        )
        page.wait(lambda: page.element("address").text.endswith("/echo"))
        self.assertEqual(page.element("from").get_attribute("value"), "x")
        self.assertEqual(page.element("pace").get_attribute("value"), "fast")
        self.assertEqual(len(page.element("text").get_attribute("value") or ""), 2000)

    def test_theme(self) -> None:
        """A theme that is chosen holds against the system's, and after a reload."""
        page = self.page
        self.addCleanup(page.run, "localStorage.clear()")
        page.prefer("light")
        background = "return getComputedStyle(document.body).backgroundColor"
        light = page.run(background)
        page.pick("theme", "dark")
        dark = page.run(background)
        self.assertNotEqual(dark, light)
        page.chrome.refresh()
        page.wait(lambda: page.run(background), dark)
        self.assertEqual(page.element("theme").get_attribute("value"), "dark")
        page.pick("theme", "auto")
        self.assertEqual(page.run(background), light)

    def test_failure(self) -> None:
        """An error of the page itself is shown in one line, on top."""
        # Of a script that is not the page's own, as this one, it would not be told what it is.
        self.page.run("dispatchEvent(new ErrorEvent('error', {message: 'Uncaught Error: oh dear'}))")
        line = "The page has failed: Uncaught Error: oh dear. Reload it."
        self.page.wait(lambda: self.page.element("failure").text, line)

    def test_only_this_server(self) -> None:
        """Whatever the page fetches, it fetches from where it came."""
        page = self.page
        page.connect()
        page.type("text", "one")
        page.wait(lambda: len(page.messages), 2)
        names = page.run("return performance.getEntriesByType('resource').map((one) => one.name)")
        self.assertGreater(len(names), 12)
        self.assertEqual([name for name in names if not name.startswith(page.address)], [])


class PlotTests(InABrowser):
    """What is measured while the page is used."""

    def test_latency(self) -> None:
        """Echoes are measured and drawn; the plots tell in words what they show."""
        page = self.page
        self.assertTrue(page.run("return crossOriginIsolated"))
        page.connect()
        page.type("text", "one")
        fields = [page.element(f"latency-{name}") for name in ("last", "median", "p99")]
        page.wait(lambda: all(field.text.endswith("s") for field in fields))
        label = "return document.querySelector('#latency-plot .canvas').getAttribute('aria-label')"
        page.wait(lambda: page.run(label).startswith("Latency, last 60 seconds: median "))
        drawn = "return document.querySelector('#latency-plot .canvas .series').getAttribute('d')"
        page.wait(lambda: page.run(drawn) != "")
        rates = "return document.querySelector('#rate-plot .canvas').getAttribute('aria-label')"
        page.wait(lambda: "; received " in page.run(rates))

    def test_lines_stand_out(self) -> None:
        """In both schemes, lines stand out from their background by 3:1 at least (WCAG 1.4.11), and differ in
        more than colour."""
        page = self.page
        for scheme in ("light", "dark"):
            page.prefer(scheme)
            ratios = page.run(
                "const luminance = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255)"
                "  .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))"
                "  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);"
                "const card = luminance(getComputedStyle(document.querySelector('.plots')).backgroundColor);"
                "return [...document.querySelectorAll('.plots .series')].map((one) => {"
                "  const line = luminance(getComputedStyle(one).stroke);"
                "  return (Math.max(line, card) + 0.05) / (Math.min(line, card) + 0.05);"
                "});"
            )
            self.assertEqual(len(ratios), 8)
            self.assertGreaterEqual(min(ratios), 3, scheme)
        dashes = page.run(
            "return [...document.querySelectorAll('#latency-plot .canvas .series')]"
            "  .map((one) => getComputedStyle(one).strokeDasharray)"
        )
        self.assertEqual(len(set(dashes)), 2)

    def test_no_latency_on_broadcast(self) -> None:
        """Where nothing comes back, nothing is measured, and the plot says so."""
        self.page.connect("broadcast")
        self.page.type("text", "one")
        label = "return document.querySelector('#latency-plot .canvas').getAttribute('aria-label')"
        nothing = "Latency, last 60 seconds: Measured where what is sent comes back."
        self.page.wait(lambda: self.page.run(label), nothing)
        self.page.wait(lambda: self.page.element("rate-sent").text != "\u2013")
        self.assertEqual(self.page.element("latency-last").text, "\u2013")
