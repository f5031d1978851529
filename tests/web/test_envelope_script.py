"""The class ``EnvelopeClient`` of envelope.js, as pages have it: in Chromium.

Against a real server first, and then against a WebSocket of the test's, which says what no server should.
"""

from __future__ import annotations

from typing import Any

from tests.web.browser import new_window, shared_browser, wsecho_serving
from tests.web.in_a_browser import BrowserCase

_PREPARE = """
    const done = arguments[arguments.length - 1];
    (async () => {
      const { EnvelopeClient, NotPublished, Unsure } = await import('/envelope.js');
      const url = (name) => `${location.origin.replace('http', 'ws')}/broadcast/${name}`;
      const heard = (client) => {
        const told = [];
        for (const name of ['welcome', 'message', 'gap', 'presence', 'dropped', 'engine', 'disconnected']) {
          client.addEventListener(name, ({ detail }) => told.push([name, detail]));
        }
        return told;
      };
      const of = (told, name) => told.filter(([kind]) => kind === name).map(([, detail]) => detail);
      const once = (client, name) => new Promise((resolve) => {
        client.addEventListener(name, ({ detail }) => resolve(detail), { once: true });
      });
"""

_FAKE = """
      class Fake extends EventTarget {
        static all = [];
        constructor(url, protocol) {
          super();
          Object.assign(this, { url, protocol, sent: [], closed: null });
          Fake.all.push(this);
        }
        send(data) { this.sent.push(JSON.parse(data)); }
        close(code) { this.closed = code; }
        raw(data) { this.dispatchEvent(new MessageEvent('message', { data })); }
        say(type, members = {}) { this.raw(JSON.stringify({ type, ...members })); }
        welcome(offset = 0, recovered = null, epoch = 'e', id = 'node-1') {
          epoch = offset === null ? null : epoch;
          this.say('welcome', { id, epoch, offset, recovered, replayed: 0, presence: 1 });
        }
        message(offset, text = 'x', epoch = 'e', sender = 'node-9') {
          this.say('message', { epoch: offset === null ? null : epoch, offset, sender, text });
        }
        lose() { this.dispatchEvent(new CloseEvent('close', { code: 1006, reason: '' })); }
      }
      let number = 0;
      const quick = { firstWait: 1, longestWait: 4, random: () => 1, WebSocket: Fake };
      const fake = (options = {}) => {
        const makeId = () => `message-${String(number++).padStart(10, '0')}`;
        const client = new EnvelopeClient(url('c'), { ...quick, makeId, ...options });
        client.start();
        return client;
      };
      const next = async (before) => {
        while (Fake.all.length === before) await new Promise((resolve) => setTimeout(resolve, 1));
        return Fake.all.at(-1);
      };
"""

_END = """
    })().then(done, (error) => done(`failed: ${error.stack ?? error}`));
"""


class EnvelopeScriptTests(BrowserCase):
    """envelope.js."""

    def setUp(self) -> None:
        super().setUp()
        address = self.resources.enter_context(
            wsecho_serving(self.folder / "server", "--host=127.0.0.1", "--port=0", "--history-size=100")
        )
        self.chrome = shared_browser()
        self.resources.enter_context(new_window(self.chrome))
        self.chrome.get(address)
        self.chrome.set_script_timeout(30)

    def run_script(self, script: str, *, fake: bool = False) -> Any:
        """Run the body of an async function on the page, and return what it returns."""
        result = self.chrome.execute_async_script(_PREPARE + (_FAKE if fake else "") + script + _END)
        if isinstance(result, str) and result.startswith("failed: "):
            self.fail(result)
        return result

    def test_conversation(self) -> None:
        """Two clients on a channel: each message arrives once, as it was, and is acknowledged with its
        place."""
        result = self.run_script("""
            const one = new EnvelopeClient(url('a'));
            const two = new EnvelopeClient(url('a'), { withOwn: true });
            const [toldOne, toldTwo] = [heard(one), heard(two)];
            const early = one.publish('grün \\u2028 "');
            one.start();
            two.start();
            two.start();
            await once(two, 'welcome');
            await early;
            const place = await two.publish(new Uint8Array([255, 0]));
            await two.publish(new Uint8Array([1, 2, 3]).buffer);
            for (const client of [one, two]) {
              while (client.position.offset < 3) await once(client, 'message');
            }
            const open = [one.isOpen, one.pending, two.position.offset];
            one.stop();
            two.stop();
            const texts = (told) => of(told, 'message').map(
              ({ content, position }) => [typeof content === 'string' ? content : [...content],
              position.offset],
            );
            return [texts(toldOne), texts(toldTwo).slice(-2), place.offset, open, of(toldOne, 'gap')];
        """)
        self.assertEqual(
            result,
            [
                [[[255, 0], 2], [[1, 2, 3], 3]],
                [[[255, 0], 2], [[1, 2, 3], 3]],
                2,
                [True, 0, 3],
                [],
            ],
        )

    def test_resumes(self) -> None:
        """A client that lost its connection gets what was said meanwhile, once, and knows that nothing is
        missing; what it published meanwhile is sent."""
        result = self.run_script("""
            const sockets = [];
            class Watched extends WebSocket {
              constructor(...given) { super(...given); sockets.push(this); }
            }
            const client = new EnvelopeClient(url('b'), { WebSocket: Watched, firstWait: 300 });
            const other = new EnvelopeClient(url('b'), { withOwn: true });
            const [told, toldOther] = [heard(client), heard(other)];
            client.start();
            other.start();
            await Promise.all([once(client, 'welcome'), once(other, 'welcome')]);
            const first = once(client, 'message');
            await other.publish('1');
            await first;
            const lost = once(client, 'disconnected');
            sockets[0].close(4000);
            await lost;
            await other.publish('2');
            await other.publish('3');
            await client.publish('mine');
            await other.publish('4');
            while (of(told, 'message').length < 4) await once(client, 'message');
            client.stop();
            other.stop();
            return [
              of(told, 'message').map(({ content }) => content),
              of(toldOther, 'message').map(({ content }) => content),
              of(told, 'welcome').map(({ recovered }) => recovered),
              of(told, 'gap'),
              new URL(sockets[1].url).searchParams.get('since'),
            ];
        """)
        self.assertEqual(result, [["1", "2", "3", "4"], ["1", "2", "3", "mine", "4"], [None, True], [], "1"])

    def test_trimmed(self) -> None:
        """What is out of the history is told as a gap, with its number."""
        result = self.run_script("""
            const other = new EnvelopeClient(url('d'));
            other.start();
            await once(other, 'welcome');
            const first = await other.publish('0');
            for (let number = 1; number <= 150; number += 1) await other.publish(String(number));
            const client = new EnvelopeClient(url('d'), { position: first });
            const told = heard(client);
            client.start();
            while (client.position.offset < 151) await once(client, 'message');
            client.stop();
            other.stop();
            return [of(told, 'gap').map(({ missing }) => missing), of(told, 'message').length];
        """)
        self.assertEqual(result, [[50], 100])

    def test_order_and_holes(self) -> None:
        """Duplicates are handed out once, holes are told before what is behind them, whatever the server
        says."""
        result = self.run_script(
            """
            const client = fake();
            const told = heard(client);
            const socket = Fake.all[0];
            socket.message(9);
            socket.welcome(0);
            for (const offset of [1, 1, 2, 1, 5]) socket.message(offset, String(offset));
            socket.say('gap', { epoch: null, offset: null });
            socket.message(1, 'a', 'f');
            socket.message(3, 'mine', 'f', 'node-1');
            socket.message(1, 'b', 'g');
            socket.say('novelty', {});
            socket.say('join', { member: 'x', count: 2 });
            socket.say('dropped', { count: 3 });
            socket.say('engine', { state: 'away' });
            const value = (detail) => detail.content ?? detail.missing ?? detail.count ?? null;
            const brief = ([name, detail]) => [name, value(detail)];
            return [socket.protocol, ...told.slice(1).map(brief)];
        """,
            fake=True,
        )
        self.assertEqual(
            result,
            [
                "wsecho.v1.json",
                ["message", "1"],
                ["message", "2"],
                ["gap", 2],
                ["message", "5"],
                ["gap", None],
                ["message", "a"],
                ["gap", 1],
                ["gap", None],
                ["message", "b"],
                ["presence", 2],
                ["dropped", 3],
                ["engine", None],
            ],
        )

    def test_publishing(self) -> None:
        """What is not acknowledged is sent again with the same id; a refusal is its end; an engine that is
        away is asked again; without history nothing is sent twice."""
        result = self.run_script(
            """
            const client = fake();
            const results = [];
            const note = (promise) => promise.then(
              (place) => results.push(place?.offset ?? null),
              (error) => results.push([error.name, error.code]),
            );
            note(client.publish('a'));
            Fake.all[0].welcome(0);
            note(client.publish('b'));
            Fake.all[0].lose();
            note(client.publish('c'));
            const second = await next(1);
            second.welcome(0, true);
            const again = second.sent.map(({ id, text }) => [Number(id.slice(-3)), text]);
            const id = (number) => `message-${String(number).padStart(10, '0')}`;
            second.say('ack', { id: id(0), epoch: 'e', offset: 1 });
            second.say('ack', { id: id(0), epoch: 'e', offset: 1 });
            second.say('error', { id: id(1), code: 'too-large', line: 'large' });
            second.say('error', { id: null, code: 'unknown-type', line: '?' });
            second.say('error', { id: id(2), code: 'engine-away', line: 'away' });
            while (second.sent.length < 4) await new Promise((resolve) => setTimeout(resolve, 1));
            second.say('ack', { id: id(2), epoch: 'e', offset: 2 });
            await new Promise((resolve) => setTimeout(resolve, 1));
            second.lose();
            const third = await next(2);
            third.welcome(null);
            note(client.publish('d'));
            third.lose();
            note(client.publish('e'));
            const fourth = await next(3);
            fourth.welcome(null);
            note(client.publish('f'));
            client.stop();
            await new Promise((resolve) => setTimeout(resolve, 20));
            return [again, results, fourth.sent.map(({ text }) => text), Fake.all.length, fourth.closed];
        """,
            fake=True,
        )
        self.assertEqual(
            result,
            [
                [[0, "a"], [1, "b"], [2, "c"]],
                [1, ["NotPublished", "too-large"], 2, ["Unsure", ""], ["Unsure", ""], ["Unsure", ""]],
                ["e", "f"],
                4,
                1000,
            ],
        )

    def test_silence(self) -> None:
        """A server is asked now and then whether it is there; one that does not answer is left."""
        result = self.run_script(
            """
            const client = fake({ quietAfter: 30 });
            const told = heard(client);
            const socket = Fake.all[0];
            socket.welcome(0);
            while (socket.sent.length < 1) await new Promise((resolve) => setTimeout(resolve, 1));
            socket.say('pong');
            while (socket.sent.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
            const answered = of(told, 'disconnected').length;
            const second = await next(1);
            client.stop();
            return [
              socket.sent, answered, of(told, 'disconnected').map(({ reason }) => reason), second.sent.length,
            ];
        """,
            fake=True,
        )
        self.assertEqual(result, [[{"type": "ping"}] * 2, 0, ["the server is silent"], 0])

    def test_nonsense(self) -> None:
        """A server that sends what is no envelope is left; what cannot be sent throws; the wait grows to its
        bound."""
        result = self.run_script(
            """
            const closed = [];
            for (const data of ['hello', '[]', 'null', new Blob([]), '{"type":"message"}',
                '{"type":"message","epoch":1,"offset":1,"sender":"","text":""}',
                '{"type":"message","epoch":"\\\\ud800","offset":1,"sender":"","text":""}',
                '{"type":"message","epoch":"e","offset":-1,"sender":"","text":""}',
                '{"type":"message","epoch":"e","offset":1,"sender":"","binary":"%"}']) {
              const client = fake();
              const socket = Fake.all.at(-1);
              socket.welcome(0);
              socket.raw(data);
              closed.push(socket.closed);
              client.stop();
            }
            const client = fake();
            const waits = [];
            client.addEventListener('disconnected', ({ detail }) => waits.push(detail.seconds * 1000));
            for (let attempt = 0; attempt < 5; attempt += 1) {
              const before = Fake.all.length;
              Fake.all.at(-1).lose();
              await next(before);
            }
            const thrown = [];
            for (const bad of [1, null, {}]) {
              try { client.publish(bad); } catch (error) { thrown.push(error.name); }
            }
            client.stop();
            return [closed, waits, thrown];
        """,
            fake=True,
        )
        self.assertEqual(result, [[4007] * 9, [1, 2, 4, 4, 4], ["TypeError"] * 3])
