"""The page as its users have it: in Chromium, from a running server, over http and https.

A refusal by the page's policy, an error of its script or any other complaint in the browser's console fails
the test that caused it.
"""

import base64
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium.webdriver.common.keys import Keys

from tests.web.browser import Line, both_ways
from tests.web.contrasts import CONTRASTS
from tests.web.in_a_browser import InABrowser
from wsecho.tls.development import make_development_certificate

#: What a control is called in these tests.
_NAME = "(one) => one.id || (one.name ? `${one.name} ${one.value}` : one.textContent)"


class _Services(InABrowser):
    """What the services do."""

    def use_echo(self) -> None:
        """Send each kind of message to echo and see it come back."""
        page = self.page
        page.connect("echo")
        expected = [*both_ways("text", "20 B", "Gr\u00fc\u00dfe,\nsecond line")]
        page.type("text", "Gr\u00fc\u00dfe,\nsecond line")
        page.wait_for_messages(*expected)
        page.choose("hex")
        expected += both_ways("binary", "4 B", "00 ff 7f 80")
        page.type("hex", "00FF\n7f 80")
        page.wait_for_messages(*expected)
        file = self.folder / "file"
        file.write_bytes(bytes(range(130)))
        page.choose("file")
        page.element("file").send_keys(str(file.resolve()))
        page.press_send()
        expected += both_ways("binary", "130 B", f"{bytes(range(64)).hex(' ')} \u2026 66 more bytes")
        page.wait_for_messages(*expected)
        self.assertEqual((page.element("sent").text, page.element("received").text), ("3", "3"))

    def use_broadcast(self) -> None:
        """Talk from window to window on a channel, with a third window on another one."""
        first, second, elsewhere = self.page, self.page.another(), self.page.another()
        first.connect("broadcast", "room")
        second.connect("broadcast", "room")
        elsewhere.connect("broadcast")
        first.type("text", "from the first")
        second.wait_for_messages(Line("received", "text", "14 B", "from the first"))
        second.choose("hex")
        second.type("hex", "c0ffee")
        first.wait_for_messages(
            Line("sent", "text", "14 B", "from the first"), Line("received", "binary", "3 B", "c0 ff ee")
        )
        self.assertEqual(elsewhere.messages, [])


class ServiceTests(_Services):
    """What the page is for."""

    def test_echo(self) -> None:
        """Text, bytes and a file that are sent to echo come back as what they were, and as many bytes."""
        self.use_echo()

    def test_broadcast(self) -> None:
        """What one window sends on a channel is seen in the other, and not beyond the channel."""
        self.use_broadcast()


class TLSTests(_Services):
    """The same from a TLS listener: the page comes over https and connects back by wss."""

    def listener(self) -> tuple[list[str], list[str]]:
        """A TLS listener, and a browser that trusts its key and no other unknown one."""
        made = make_development_certificate(self.folder, now=datetime.now(UTC))
        key = x509.load_pem_x509_certificate(made.certificate.read_bytes()).public_key()
        pin = base64.b64encode(
            sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        )
        return [
            "--listen-tls=tcp:0:interface=127.0.0.1",
            f"--certificate={made.certificate.resolve()}",
            f"--private-key={made.private_key.resolve()}",
        ], [f"--ignore-certificate-errors-spki-list={pin.decode()}"]

    def test_echo(self) -> None:
        """The page over https reaches echo by wss."""
        self.assertTrue(self.page.address.startswith("https://"))
        self.use_echo()
        self.assertTrue(self.page.lines[0].body.startswith("Connected to wss://127.0.0.1:"))

    def test_broadcast(self) -> None:
        """Windows over https see each other's messages on a channel."""
        self.use_broadcast()


class ConnectionTests(InABrowser):
    """How the page tells what becomes of a connection."""

    stops_server = True

    def test_states(self) -> None:
        """The state is told in words, the button says what it will do, and a close shows its code."""
        page = self.page
        self.assertEqual((page.state, page.element("toggle").text), ("Not connected", "Connect"))
        page.connect()
        self.assertEqual(page.element("toggle").text, "Disconnect")
        self.assertFalse(page.element("channel").is_enabled())
        page.element("toggle").click()
        page.wait_for_state("Closed: 1000")
        self.assertEqual(page.element("toggle").text, "Connect")
        address = f"ws{page.address.removeprefix('http')}echo"
        page.wait(
            lambda: [line.body for line in page.lines],
            [f"Connected to {address}", "Closed: 1000 Normal Closure, clean"],
        )

    def test_connects_again(self) -> None:
        """After a close, the page connects again, to another service."""
        self.page.connect("echo")
        self.page.element("toggle").click()
        self.page.wait_for_state("Closed: 1000")
        self.page.connect("broadcast", "room")
        self.page.wait(lambda: self.page.lines[-1].body.endswith("/broadcast/room"), True)

    def test_server_goes(self) -> None:
        """When the server stops, the page shows its close code and reason."""
        self.page.connect()
        self.server.close()
        self.page.wait_for_state("Closed: 1001")
        self.page.wait(lambda: self.page.lines[-1].body.startswith("Closed: 1001 Going Away, \u201c"))

    def test_no_server(self) -> None:
        """A connection that cannot be made is told as such, and can be tried again."""
        self.server.close()
        self.page.element("toggle").click()
        self.page.wait_for_state("Could not connect")
        self.page.wait(lambda: len(self.page.lines), 1)
        self.assertTrue(self.page.element("toggle").is_enabled())
        # The browser itself complains about the refused connection.
        complaints = self.page.console
        self.assertEqual(
            [entry for entry in complaints if "ERR_CONNECTION_REFUSED" not in entry["message"]], []
        )
        self.assertNotEqual(complaints, [])

    def test_channel_names(self) -> None:
        """A channel that the server could not have, or a URL not name, is refused where it is typed."""
        page = self.page
        page.choose("broadcast")
        field, problem = page.element("channel"), page.element("connection-problem")
        for name in ("my room", "a/b", "a?b", "\u00e9", "%61", ".", ".."):
            field.clear()
            field.send_keys(name)
            self.assertTrue(problem.text, name)
            self.assertEqual(field.get_attribute("aria-invalid"), "true")
            page.element("toggle").click()
            self.assertEqual(page.state, "Not connected")
            self.assertEqual(page.focused, field)
        field.clear()
        page.connect("broadcast", "A-Za-z0._~")
        self.assertEqual((problem.text, field.get_attribute("aria-invalid")), ("", "false"))
        self.assertTrue(page.lines[0].body.endswith("/broadcast/A-Za-z0._~"))


class MessageTests(InABrowser):
    """How messages are shown, and what is not sent."""

    def test_markup_stays_text(self) -> None:
        """Markup in a message is shown as it was written and never becomes an element."""
        text = "<img src=x onerror=console.error(1)><b>&amp;</b><script>console.error(2)</script>"
        self.page.connect()
        self.page.type("text", text)
        self.page.wait_for_messages(*both_ways("text", f"{len(text)} B", text))
        self.assertEqual(
            self.page.run("return document.querySelectorAll('#log :is(img, b, script)').length"), 0
        )

    def test_hidden_characters(self) -> None:
        """Characters that hide or turn text round are shown by number; line ends, tabs, emoji are kept."""
        self.page.connect()
        self.page.run(
            "document.getElementById('text').value = arguments[0];",
            "a\x1b[31m\u202eb\u200b\u2028\ufeff\x7f\x00\n\t\U0001f468\u200d\U0001f469",
        )
        self.page.press_send()
        shown = r"a\u{1b}[31m\u{202e}b\u{200b}\u{2028}\u{feff}\u{7f}\u{0}" + "\n\t\U0001f468\u200d\U0001f469"
        self.page.wait_for_messages(*both_ways("text", "34 B", shown))

    def test_empty_and_long(self) -> None:
        """An empty message is a message; of a long one the beginning is shown and the rest counted."""
        self.page.connect()
        self.page.type("text", "")
        self.page.run("document.getElementById('text').value = 'x'.repeat(70000);")
        self.page.press_send()
        long = f"{'x' * 500} \u2026 69,500 more characters"
        self.page.wait_for_messages(*both_ways("text", "0 B", "empty"), *both_ways("text", "70,000 B", long))

    def test_log_is_bounded(self) -> None:
        """Of many messages the log keeps the last 500 and tells how many it let go."""
        self.page.connect()
        self.page.run(
            "for (let i = 1; i <= 400; i++) {"
            "  document.getElementById('text').value = i;"
            "  document.getElementById('composer').requestSubmit();"
            # Sending is asynchronous and reads the field first.
            "}"
        )
        self.page.wait(lambda: self.page.element("received").text, "400")
        # 400 each way and the note about the connection.
        self.page.wait(lambda: self.page.element("dropped").text, "Older entries are no longer shown: 301")
        lines = self.page.lines
        self.assertEqual((len(lines), lines[-1].body), (500, "400"))
        self.page.element("clear").click()
        self.assertEqual(self.page.lines, [])
        self.assertEqual(self.page.element("sent").text, "0")
        self.assertEqual(self.page.element("empty").text, "Nothing yet. Connect, then send a message.")

    def test_not_connected(self) -> None:
        """A message that cannot be sent stays in its field, and the page says why."""
        self.page.type("text", "early")
        self.page.wait(lambda: self.page.element("problem").text, "Not connected.")
        self.assertEqual(self.page.element("text").get_attribute("value"), "early")

    def test_what_cannot_be_bytes(self) -> None:
        """Half a byte, or a letter that is no digit, is not sent; good input clears the complaint."""
        self.page.connect()
        self.page.choose("hex")
        complaints = {
            "0": "1 digits: the last has no partner.",
            "0g": "line 1, place 2: \u201cg\u201d is no hexadecimal digit.",
            "00 f": "3 digits: the last has no partner.",
            "00\n0x00": "line 2, place 2: \u201cx\u201d is no hexadecimal digit.",
            "\U0001f600": "line 1, place 1: \u201c\U0001f600\u201d is no hexadecimal digit.",
        }
        for wrong, complaint in complaints.items():
            self.page.fill("hex", wrong)
            self.page.press_send()
            rule = "Bytes are pairs of them, such as 00 ff 7f."
            self.page.wait(lambda: self.page.element("problem").text, f"{complaint} {rule}")
            self.assertEqual(self.page.element("hex").get_attribute("aria-invalid"), "true")
        self.page.element("hex").clear()
        self.page.type("hex", "00")
        self.page.wait_for_messages(*both_ways("binary", "1 B", "00"))
        self.assertEqual(self.page.element("problem").text, "")

    def test_no_file(self) -> None:
        """Without a file there is nothing to send, and the page says so."""
        self.page.connect()
        self.page.choose("file")
        self.page.press_send()
        self.page.wait(lambda: self.page.element("problem").text, "Choose a file first.")


class AccessTests(InABrowser):
    """That nobody is left out: keys, names, narrow windows, both colour schemes."""

    def test_keyboard_only(self) -> None:
        """Keys alone choose a service and a channel, connect, send and disconnect."""
        page = self.page
        # Past the choice of the theme.
        page.press(Keys.TAB, Keys.TAB, Keys.ARROW_RIGHT, Keys.TAB, "room", Keys.ENTER)
        page.wait_for_state("Connected")
        # Whoever has connected can go on and type.
        page.wait(lambda: page.focused.get_attribute("id"), "text")
        page.press("one", Keys.ENTER)
        page.wait_for_messages(Line("sent", "text", "3 B", "one"))
        page.press(Keys.TAB)
        self.assertEqual(page.focused.accessible_name, "Send")
        # Kinds, the closing code's disclosure, the button.
        page.press_back(4)
        self.assertEqual(page.focused.accessible_name, "Disconnect")
        page.press(Keys.SPACE)
        page.wait_for_state("Closed: 1000")

    def test_tab_reaches_all(self) -> None:
        """Tab reaches every control, in the order in which they stand, and each shows that it is reached."""
        page = self.page.another("service=broadcast&pace=interval&content=bytes&reason=so+long")
        expected = page.run(
            "const all = 'input, select, textarea, button, summary, [tabindex=\"0\"]';"
            # Of a group of choices, Tab reaches the one that is chosen.
            "return [...document.querySelectorAll(all)].filter((one) => one.checkVisibility()"
            f"  && one.tabIndex >= 0 && (one.type !== 'radio' || one.checked)).map({_NAME});"
        )
        reached = []
        for _ in expected:
            page.press(Keys.TAB)
            reached.append(page.run(f"return ({_NAME})(document.activeElement);"))
            if reached[-1].startswith(("service", "kind")):
                # The choice is drawn beside the button itself.
                continue
            self.assertNotEqual(page.focused.value_of_css_property("outline-style"), "none", reached[-1])
        self.assertEqual(reached, expected)
        self.assertGreater(len(reached), 24)

    def test_names_and_roles(self) -> None:
        """A screen reader finds a name on every control, the log as a log, and the state as a status."""
        page = self.page
        page.run("for (const one of document.querySelectorAll('[hidden]')) one.hidden = false;")
        page.run("for (const one of document.querySelectorAll('details')) one.open = true;")
        controls = page.run(
            "const all = 'input, select, textarea, button, summary, progress, figure svg, form, section';"
            "return [...document.querySelectorAll(all)]"
            ".filter((one) => one.checkVisibility() && !one.closest('[aria-hidden]'));"
        )
        names = [control.accessible_name for control in controls if control.tag_name != "summary"]
        self.assertGreater(len(names), 40)
        self.assertNotIn("", names)
        buttons = [one.accessible_name for one in controls if one.tag_name == "button"]
        self.assertEqual(buttons, ["Connect", "Send", "Send 100", "Pause", "Clear"])
        self.assertEqual(page.element("log").aria_role, "log")
        self.assertEqual(page.element("state").aria_role, "status")
        page.press_send()
        page.wait(lambda: page.element("problem").is_displayed())
        self.assertEqual(page.element("problem").aria_role, "alert")

    def test_narrow(self) -> None:
        """In 360 CSS pixels nothing is wider than the window, whatever a message holds."""
        page = self.page
        page.resize(360, 640)
        page.connect("broadcast", "x" * 128)
        page.type("text", "w" * 500)
        page.choose("hex")
        page.type("hex", "00" * 200)
        page.wait(lambda: len(page.messages), 2)
        wide = page.run(
            "const window = document.documentElement.clientWidth;"
            "const isWide = (element) => {"
            "  const {left, right} = element.getBoundingClientRect();"
            # Text that is cut off counts too, but in a field, and in what only screen readers see.
            "  return left < 0 || right > window || element.scrollWidth > Math.ceil(right - left);"
            "};"
            "const all = 'html, body, body :not(.unseen, i, input, svg *)';"
            "return [...document.querySelectorAll(all)].filter(isWide)"
            "  .map((element) => element.outerHTML.slice(0, 80));"
        )
        self.assertEqual(wide, [])

    def test_colour_schemes(self) -> None:
        """In both schemes every text stands out from its background by 4.5:1 at least (WCAG 1.4.3)."""
        page = self.page
        backgrounds = []
        for scheme in ("light", "dark"):
            page.prefer(scheme)
            page.choose("hex")
            page.type("hex", "0")
            page.connect()
            page.choose("text")
            page.type("text", scheme)
            page.wait(lambda: page.messages[-1].direction, "received")
            texts = page.run(CONTRASTS)
            self.assertGreater(len(texts), 20)
            self.assertEqual([text for text in texts if text[1] < 4.5], [], scheme)
            backgrounds.append(page.run("return getComputedStyle(document.body).backgroundColor"))
            page.element("toggle").click()
            page.wait_for_state("Closed: 1000")
            texts = page.run(CONTRASTS)
            self.assertEqual([text for text in texts if text[1] < 4.5], [], scheme)
        self.assertEqual(len(set(backgrounds)), 2)


class PolicyTests(InABrowser):
    """That the policy is in force, and that its refusals are seen by these tests."""

    def test_inline_style(self) -> None:
        """A style that is written into the page is not applied."""
        self.page.run(
            "const style = document.createElement('style');"
            "style.append('p { order: 7; }');"
            "document.body.append(style);"
        )
        self.page.wait(lambda: self.complaints("style-src"))
        self.assertEqual(self.page.run("return getComputedStyle(document.querySelector('p')).order"), "0")

    def test_inline_script(self) -> None:
        """A script that is written into the page is not run."""
        self.page.run(
            "const script = document.createElement('script');"
            "script.append('document.title = 1');"
            "document.body.append(script);"
        )
        self.page.wait(lambda: self.complaints("TrustedScript"))
        self.assertEqual(self.page.chrome.title, "wsecho")

    def test_markup(self) -> None:
        """Text cannot be made into markup, not even by the page's own script."""
        outcome = self.page.run(
            "try { document.body.innerHTML = '<p>'; return 'set'; } catch (error) { return error.name; }"
        )
        self.assertEqual(outcome, "TypeError")
        self.page.wait(lambda: self.complaints("TrustedHTML"))

    def test_elsewhere(self) -> None:
        """The page connects to no other server."""
        self.page.run("try { new WebSocket('ws://127.0.0.2:9/'); } catch {}")
        self.page.wait(lambda: self.complaints("connect-src"))

    def complaints(self, about: str) -> bool:
        """Whether the console tells of a refusal about this, and of nothing else."""
        entries = self.page.console
        self.assertEqual([entry for entry in entries if about not in entry["message"]], [])
        return bool(entries)
