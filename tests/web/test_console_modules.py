"""The page's modules, by what they export: called in the page itself, in Chromium."""

from __future__ import annotations

from typing import Any

from tests.web.in_a_browser import InABrowser


class TargetTests(InABrowser):
    """static/target.js: where a connection goes."""

    def resolved(self, path: str, base: str = "http://h.example:9000/") -> Any:
        """The address for what is typed under *Other*, or the line that says what is wrong."""
        answer = self.page.imported(
            "target.js",
            "return its.addressOf({service: 'other', path: given[0]}, given[1])",
            path,
            base,
        )
        return answer["error"] if isinstance(answer, dict) else answer

    def test_addresses(self) -> None:
        """A path, or an address of this server, becomes the address of a WebSocket of this server."""
        own = "ws://h.example:9000"
        for typed in ("/a?b=c", "a?b=c", f"{own}/a?b=c", "http://h.example:9000/a?b=c", " /a?b=c "):
            self.assertEqual(self.resolved(typed), f"{own}/a?b=c", typed)
        self.assertEqual(self.resolved(""), f"{own}/")
        self.assertEqual(self.resolved("/x", "https://h.example/"), "wss://h.example/x")
        self.assertEqual(self.resolved("x", "https://h.example/below/"), "wss://h.example/below/x")

    def test_refused(self) -> None:
        """What the browser or the server would refuse without a word is refused with one."""
        own = "This page connects only to ws://h.example:9000, where it came from."
        refused = {
            "ws://other.example/": own,
            "//other.example/": own,
            "wss://h.example:9000/": own,
            "ws://h.example:9001/": own,
            "ws://me@h.example:9000/": own,
            "ftp://h.example:9000/": "An address begins with ws: or wss:, a path with /.",
            "javascript:alert(1)": "An address begins with ws: or wss:, a path with /.",
            "ws://[": "This is neither a path nor an address.",
            "/a#b": "A WebSocket address has no # part.",
            "/a#": "A WebSocket address has no # part.",
            "/broadcast/..": "A browser removes the steps . and .. from a path.",
            "/./a": "A browser removes the steps . and .. from a path.",
            "/broadcast/a%20b": "A channel is 1 to 128 of A-Z a-z 0-9 . _ ~ -",
        }
        for typed, line in refused.items():
            self.assertEqual(self.resolved(typed), line, typed)

    def test_choices(self) -> None:
        """The choices are paths below the page, wherever a proxy has put it."""
        base = "https://h.example/below/"
        for typed, path in (
            ({"service": "echo"}, "echo"),
            ({"service": "broadcast", "channel": ""}, "broadcast"),
            ({"service": "broadcast", "channel": "a.b"}, "broadcast/a.b"),
            ({"service": "test", "query": ""}, "test"),
            ({"service": "test", "query": "?delay=1s&reason=a b"}, "test?delay=1s&reason=a%20b"),
        ):
            address = self.page.imported("target.js", "return its.addressOf(...given)", typed, base)
            self.assertEqual(address, f"wss://h.example/below/{path}")
            service = self.page.imported("target.js", "return its.serviceAt(...given)", address, base)
            # This server has no test endpoints.
            self.assertEqual(service, None if typed["service"] == "test" else typed["service"])

    def test_what_is_no_service(self) -> None:
        """The service at the top is the one of the server's mode; elsewhere nothing is known."""
        for path, service in (("/", "echo"), ("/echo/", None), ("/elsewhere", None), ("/broadcasts", None)):
            address = f"ws://h.example{path}"
            found = self.page.imported(
                "target.js", "return its.serviceAt(...given)", address, "http://h.example/"
            )
            self.assertEqual(found, service, path)
        above = ("ws://h.example/echo", "http://h.example/below/")
        self.assertIsNone(self.page.imported("target.js", "return its.serviceAt(...given)", *above))

    def test_subprotocols(self) -> None:
        """Names with commas between; one that is no token, or there twice, is told."""

        def read(text: str) -> Any:
            return self.page.imported("target.js", "return its.subprotocolsOf(given[0])", text)

        self.assertEqual(read(" a, b.c ,"), ["a", "b.c"])
        self.assertEqual(read(""), [])
        self.assertEqual(read("a,b,a"), {"error": "Subprotocols: \u201ca\u201d is there twice."})
        self.assertTrue(read("a b")["error"].startswith("Subprotocols: \u201ca b\u201d is no name."))

    def test_close_arguments(self) -> None:
        """A code and a reason are what a browser sends, or a line says which are."""

        def read(code: str, reason: str) -> Any:
            return self.page.imported("target.js", "return its.closeArguments(...given)", code, reason)

        self.assertEqual(read("", ""), [])
        self.assertEqual(read(" 1000 ", ""), [1000])
        self.assertEqual(read("4999", "\u00e9" * 61), [4999, "\u00e9" * 61])
        long = {"error": "The reason has 124 bytes; a Close frame holds 123."}
        self.assertEqual(read("3000", "\u00e9" * 62), long)
        self.assertEqual(read("", "why"), {"error": "A reason needs a code."})
        for code in ("1001", "999", "5000", "2999", "1e3", "0x3e8", "-1", "1000.0"):
            self.assertTrue(read(code, "")["error"].startswith("A browser closes with 1000,"), code)


class FormatTests(InABrowser):
    """static/format.js: how bytes and numbers look, and how typed ones are read."""

    def test_dump(self) -> None:
        """A dump has sixteen bytes a line, their place and their characters, and tells what it leaves out."""
        dump = self.page.imported(
            "format.js", "return its.hexDump(Uint8Array.from(given[0]), 18)", [*range(56, 88)]
        )
        first = "38 39 3a 3b 3c 3d 3e 3f 40 41 42 43 44 45 46 47"
        expected = [
            f"000000  {first}  89:;<=>?@ABCDEFG",
            f"000010  48 49{' ' * 42}  HI",
            "\u2026 14 more bytes",
        ]
        self.assertEqual(dump.split("\n"), expected)
        dump = self.page.imported("format.js", "return its.hexDump(Uint8Array.of(0, 127, 255, 32), 9)")
        self.assertEqual(dump, f"000000  00 7f ff 20{' ' * 36}  ... ")

    def test_numbers(self) -> None:
        """A number is read with or without commas; for what is none, or out of bounds, these are told."""

        def read(text: str) -> Any:
            return self.page.imported(
                "format.js", "return its.readNumber(given[0], 'Messages', 1, 1000000)", text
            )

        self.assertEqual([read("1"), read(" 1,000,000 "), read("12")], [1, 1_000_000, 12])
        for text in ("", "0", "1000001", "1.5", "x", "1,00", "-1"):
            self.assertEqual(read(text), {"error": "Messages: a whole number from 1 to 1,000,000."}, text)


class MeasureTests(InABrowser):
    """static/measure.js and static/plot.js: what is measured, and how it is drawn."""

    def test_echoes(self) -> None:
        """An echo is of the oldest message that is out; what is of another kind or length is none."""
        numbers = self.page.imported(
            "measure.js",
            "const echoes = new its.Echoes();"
            "echoes.sent('string', 1, 0); echoes.sent('object', 1, 10); echoes.sent('string', 5, 20);"
            "echoes.received('object', 1, 30);"  # of the server's own: the first is out still
            "const before = echoes.numbers;"
            "echoes.received('string', 1, 40); echoes.received('object', 1, 70);"
            "echoes.received('string', 5, 30); echoes.received('string', 5, 99);"
            "return [before, echoes.numbers, echoes.take(), echoes.take()];",
        )
        self.assertEqual(numbers, [None, {"last": 10, "median": 40, "p99": 60}, [40, 60], [None, None]])

    def test_echoes_are_bounded(self) -> None:
        """Of messages that never come back, and of times, no more are kept than a fixed number."""
        kept = self.page.imported(
            "measure.js",
            "const echoes = new its.Echoes();"
            "for (let i = 0; i < 100500; i += 1) echoes.sent('string', 1, i);"
            "const out = echoes.out.length;"
            "for (let i = 0; i < 100000; i += 1) echoes.received('string', 1, i + 5);"
            "return [out, echoes.recent.length, echoes.numbers.median, echoes.out.length < 10001];",
        )
        self.assertEqual(kept, [100_000, 2000, 5, True])

    def test_short_connection(self) -> None:
        """What passes between two looks is measured, also when the connection has ended since."""
        shown = self.page.imported(
            "measure.js",
            "const measurements = new its.Measurements({state: 'closed', bufferedAmount: 0});"
            "measurements.opened(true);"
            "measurements.message('sent', 'x');"
            "measurements.message('received', 'x');"
            "measurements.tick(performance.now() + 100);"
            "return [measurements.rates.last.every((one) => one > 0),"
            "  document.getElementById('latency-last').textContent.endsWith('s')];",
        )
        self.assertEqual(shown, [True, True])

    def test_ring(self) -> None:
        """A full ring forgets the oldest; ranges are of what is recent, and gaps count for nothing."""
        seen = self.page.imported(
            "plot.js",
            "const samples = new its.Samples(3, 2);"
            "[[1, 9], [2, null], [3, 7], [4, 8]].forEach(([a, b], at) => samples.add(at, [a, b]));"
            "return [samples.count, samples.value(0, 0), samples.value(0, -1), samples.value(1, 0),"
            "  samples.range(0, 0), samples.range(1, 3), samples.range(1, 9)];",
        )
        self.assertEqual(
            seen,
            [
                3,
                2,
                4,
                None,
                {"lowest": 2, "highest": 4, "last": 4},
                {"lowest": 8, "highest": 8, "last": 8},
                None,
            ],
        )

    def test_scale(self) -> None:
        """An axis reaches its highest value in at most four even steps, for any power of ten."""
        for highest, top, step in ((1, 1, 0.5), (1.2, 1.5, 0.5), (3, 3, 1), (7, 8, 2), (9.9, 10, 5)):
            for power in (1e-3, 1, 1e6):
                made = self.page.imported("plot.js", "return its.scale(given[0])", highest * power)
                self.assertAlmostEqual(made["top"] / power, top)
                self.assertAlmostEqual(made["step"] / power, step)

    def test_lines(self) -> None:
        """A plot has its peaks at any width, gaps where there is nothing, and says in words what it shows."""
        made = self.page.imported(
            "plot.js",
            "const figure = document.createElement('figure');"
            "document.querySelector('.watching').prepend(figure);"
            "const options = {title: 'T', series: ['a', 'b'], seconds: 10, capacity: 9000};"
            "const plot = new its.Plot(figure, options);"
            "for (let i = 0; i < 5000; i += 1) {"
            "  plot.add(i, [i === 2500 ? 100 : 1, i > 2000 && i < 3000 ? null : 2]);"
            "}"
            "plot.draw(5000);"
            "const svg = figure.querySelector('.canvas');"
            "const [a, b] = [...svg.querySelectorAll('.series')].map((one) => one.getAttribute('d'));"
            "const keys = [...figure.querySelectorAll('.key')].map((one) => one.textContent);"
            "const [name, role] = ['aria-label', 'role'].map((one) => svg.getAttribute(one));"
            "const width = svg.getAttribute('viewBox').split(' ')[2];"
            "return {a, b, name, role, keys, width, last: plot.last};",
        )
        self.assertLess(made["a"].count("L"), 2 * float(made["width"]))
        self.assertEqual((made["a"].count("M"), made["b"].count("M")), (1, 2))
        heights = [float(part.split()[1]) for part in made["a"].replace("M", "L").split("L")[1:]]
        self.assertEqual(min(heights), 8)
        self.assertEqual(made["name"], "T, last 10 seconds: a 1, from 1 to 100; b 2, from 2 to 2")
        self.assertEqual((made["role"], made["last"], made["keys"]), ("img", [1, 2], ["a", "b"]))

    def test_reduced_motion(self) -> None:
        """For who prefers reduced motion, what is drawn stays where it is for some seconds."""
        script = (
            "const figure = document.createElement('figure');"
            "document.querySelector('.watching').prepend(figure);"
            "const plot = new its.Plot(figure, {title: 'T', series: ['a']});"
            "plot.add(1000, [1]);"
            "return [2000, 4000].map((now) => {"
            "  plot.draw(now);"
            "  return figure.querySelector('.canvas .series').getAttribute('d');"
            "});"
        )
        early, late = self.page.imported("plot.js", script)
        self.assertNotEqual(early, late)
        self.page.prefer("reduce", feature="prefers-reduced-motion")
        early, late = self.page.imported("plot.js", script)
        self.assertEqual(early, late)


class ConnectionTests(InABrowser):
    """static/connection.js, with a WebSocket of the test's."""

    def test_abandoned(self) -> None:
        """What an abandoned connection does later is not taken for the doing of the next one."""
        told = self.page.imported(
            "connection.js",
            "const sockets = [];"
            "const Real = WebSocket;"
            "window.WebSocket = class extends EventTarget {"
            "  constructor() { super(); sockets.push(this); }"
            "  close() {}"
            "  tell(name, more) { this.dispatchEvent(Object.assign(new Event(name), more)); }"
            "};"
            "const told = [];"
            "const connection = new its.Connection({"
            "  changed() { told.push(connection.state); },"
            "  received(data) { told.push(data); },"
            "  closed({how, code}) { told.push(`${how} ${code}`); },"
            "});"
            "const over = {code: 1000, reason: '', wasClean: true};"
            "connection.open('ws://h.example/');"
            "sockets[0].tell('open');"
            "connection.close();"
            "connection.close();"
            "connection.open('ws://h.example/');"
            "sockets[0].tell('message', {data: 'late'});"
            "sockets[0].tell('close', over);"
            "sockets[1].tell('open');"
            "sockets[1].tell('message', {data: 'in time'});"
            "sockets[1].tell('close', over);"
            "window.WebSocket = Real;"
            "return told;",
        )
        first = ["connecting", "open", "closing", "abandoned 1006", "closed"]
        self.assertEqual(told, [*first, "connecting", "open", "in time", "closed 1000", "closed"])

    def test_not_open(self) -> None:
        """Nothing is sent without a connection, and one that was cancelled is no failure."""
        self.assertEqual(
            self.page.imported("connection.js", "new its.Connection({}).send('x')"),
            {"error": "Not connected."},
        )
        self.page.run("document.getElementById('toggle').click(); document.getElementById('toggle').click()")
        self.page.wait_for_state("Not connected")
        self.page.wait(lambda: self.page.element("toggle").text, "Connect")
        self.assertEqual(self.page.lines, [])
        self.assertIn("closed before the connection", self.page.console[0]["message"])


class RunTests(InABrowser):
    """static/many.js: how many messages go."""

    def test_back_pressure(self) -> None:
        """While 64 KiB wait in the browser nothing is sent, and the page has time in between."""
        sent = self.page.imported(
            "many.js",
            "const connection = {state: 'open', bufferedAmount: 0};"
            "connection.send = (data) => { connection.bufferedAmount += data.length; };"
            "const most = [];"
            "const run = new its.Run({connection, count: 300, interval: 0, next: () => 'x'.repeat(1000),"
            "  sent() { most.push(connection.bufferedAmount); }});"
            "let emptied = 0;"
            "const drain = () => {"
            "  emptied += 1;"
            "  connection.bufferedAmount = 0;"
            "  if (run.end === null) setTimeout(drain);"
            "};"
            "setTimeout(drain);"
            "return run.start().then(({messages, why}) => [messages, why, Math.max(...most), emptied > 3]);",
        )
        self.assertEqual(sent, [300, "done", 66_000, True])

    def test_interval(self) -> None:
        """By interval, no message goes before its time, and none is left out when the timer was late."""
        times = self.page.imported(
            "many.js",
            "const connection = {state: 'open', bufferedAmount: 0, send() {}};"
            "const times = [];"
            "const begin = performance.now();"
            "const run = new its.Run({connection, count: 6, interval: 20, next: () => 'x',"
            "  sent() { times.push(performance.now() - begin); }});"
            "setTimeout(() => { while (performance.now() - begin < 70); }, 10);"
            "return run.start().then(() => times);",
        )
        self.assertEqual(len(times), 6)
        for number, time in enumerate(times):
            self.assertGreaterEqual(time, 20 * number)
