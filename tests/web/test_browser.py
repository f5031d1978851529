"""The page as its users have it: in Chromium, from a running server, over http and https.

A refusal by the page's policy, an error of its script or any other complaint in the browser's console fails
the test that caused it.
"""

import base64
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.web.browser import (
    Line,
    Page,
    both_ways,
    browser,
    missing_programs,
    new_window,
    shared_browser,
    wsecho_serving,
)
from wsecho.tls.development import make_development_certificate

# For each element with text of its own, its text and the contrast (WCAG 2.2) to what is painted behind it.
# Disabled controls are exempt.
_CONTRASTS = """
    const parts = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const luminance = (colour) => parts(colour).slice(0, 3).map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (element) => {
      const colour = getComputedStyle(element).backgroundColor;
      return parts(colour)[3] === 0 ? behind(element.parentElement) : colour;
    };
    const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
    const hasText = (element) => [...element.childNodes].some(isText);
    return [...document.querySelectorAll('body *')]
      .filter((element) => hasText(element) && element.checkVisibility() && !element.closest(':disabled'))
      .map((element) => {
        const [dark, light] = [getComputedStyle(element).color, behind(element)]
          .map(luminance).sort((one, other) => one - other);
        return [element.textContent.slice(0, 40), (light + 0.05) / (dark + 0.05)];
      });
"""


class _InABrowser(SynchronousTestCase):
    """A server, a browser, and the page open in it."""

    def setUp(self) -> None:
        """Start both and open the page."""
        if missing := missing_programs():
            raise SkipTest(f"{' and '.join(missing)} not found: apt-get install chromium chromium-driver")
        # SynchronousTestCase has no enterContext.
        self.resources = ExitStack()
        self.addCleanup(self.resources.close)
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        options, flags = self.listener()
        self.server = self.resources.enter_context(ExitStack())
        address = self.server.enter_context(wsecho_serving(self.folder / "server", *options))
        chrome = self.resources.enter_context(browser(*flags)) if flags else shared_browser()
        self.resources.enter_context(new_window(chrome))
        self.page = Page(chrome, address)
        self.addCleanup(self.check_console)

    def listener(self) -> tuple[list[str], list[str]]:
        """The options of the server; the flags of a browser of its own, or none."""
        return ["--host=127.0.0.1", "--port=0"], []

    def check_console(self) -> None:
        """Nothing was written to the console."""
        self.assertEqual(self.page.console, [])

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
        expected += both_ways("binary", "130 B", f"{bytes(range(128)).hex(' ')} \u2026 2 more bytes")
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


class ServiceTests(_InABrowser):
    """What the page is for."""

    def test_echo(self) -> None:
        """Text, bytes and a file that are sent to echo come back as what they were, and as many bytes."""
        self.use_echo()

    def test_broadcast(self) -> None:
        """What one window sends on a channel is seen in the other, and not beyond the channel."""
        self.use_broadcast()


class TLSTests(_InABrowser):
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


class ConnectionTests(_InABrowser):
    """How the page tells what becomes of a connection."""

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
        page.wait(lambda: [line.body for line in page.lines], [f"Connected to {address}", "Closed: 1000"])

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
        self.assertIn("Closed: 1001, \u201c", self.page.lines[-1].body)

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
        field, problem = page.element("channel"), page.element("channel-problem")
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


class MessageTests(_InABrowser):
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
        long = f"{'x' * 2000} \u2026 68,000 more characters"
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
        for wrong in ("0", "0g", "00 f", "0x00"):
            self.page.element("hex").clear()
            self.page.type("hex", wrong)
            self.page.wait(lambda: self.page.element("problem").text.startswith("Bytes are pairs of"))
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


class AccessTests(_InABrowser):
    """That nobody is left out: keys, names, narrow windows, both colour schemes."""

    def test_keyboard_only(self) -> None:
        """Keys alone choose a service and a channel, connect, send and disconnect."""
        page = self.page
        page.press(Keys.TAB, Keys.ARROW_DOWN, Keys.TAB, "room", Keys.TAB, Keys.ENTER)
        page.wait_for_state("Connected")
        # Whoever pressed Connect can go on and type.
        self.assertEqual(page.focused.get_attribute("id"), "text")
        page.press("one", Keys.ENTER)
        page.wait_for_messages(Line("sent", "text", "3 B", "one"))
        for name in ("Send", "Clear", "Messages"):
            page.press(Keys.TAB)
            self.assertEqual(page.focused.accessible_name, name)
            self.assertNotEqual(page.focused.value_of_css_property("outline-style"), "none", name)
        page.press_back(5)
        self.assertEqual(page.focused.accessible_name, "Disconnect")
        page.press(Keys.SPACE)
        page.wait_for_state("Closed: 1000")

    def test_names_and_roles(self) -> None:
        """A screen reader finds a name on every control, the log as a log, and the state as a status."""
        page = self.page
        page.choose("broadcast")
        names = []
        for kind in ("text", "hex", "file"):
            page.choose(kind)
            controls = page.run(
                "return [...document.querySelectorAll('input, textarea, button')]"
                ".filter((control) => control.checkVisibility());"
            )
            names.append([control.accessible_name for control in controls])
        services = (
            "Echo What you send comes back.",
            "Broadcast What you send reaches everyone else on the channel.",
        )
        before = [*services, "Channel optional", "Connect", "Text", "Binary", "File"]
        fields = ("Text to send", "Bytes to send, in hexadecimal", "File to send, as one binary message")
        self.assertEqual(names, [[*before, field, "Send", "Clear"] for field in fields])
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
            "return [...document.querySelectorAll('html, body, body :not(.unseen, i, input)')].filter(isWide)"
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
            texts = page.run(_CONTRASTS)
            self.assertGreater(len(texts), 20)
            self.assertEqual([text for text in texts if text[1] < 4.5], [], scheme)
            backgrounds.append(page.run("return getComputedStyle(document.body).backgroundColor"))
            page.element("toggle").click()
            page.wait_for_state("Closed: 1000")
            texts = page.run(_CONTRASTS)
            self.assertEqual([text for text in texts if text[1] < 4.5], [], scheme)
        self.assertEqual(len(set(backgrounds)), 2)


class PolicyTests(_InABrowser):
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
