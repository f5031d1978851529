/* Many messages at once: what they are, how fast they go, and a way to stop.
 *
 *   const run = new Run({ connection, next, count, interval, sent });
 *   const { messages, seconds, why } = await run.start();   // why: done, stopped, closed
 *   run.stop();
 *
 * `next(index)` makes a message, `sent(data)` is told of each that went; `interval` is in milliseconds, 0 for as
 * fast as it goes.
 *
 * Rules: the page stays usable and the browser's memory bounded. Messages go in slices of a few milliseconds, and
 * none while 64 KiB wait in the browser (bufferedAmount): more would not be faster, only later.
 */

const SLICE = 8; // milliseconds
const MOST_WAITING = 64 * 1024; // bytes
const LARGEST = 16 * 1024 ** 2;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz 0123456789 ';

export const MOST_MESSAGES = 1_000_000;
export const MOST_BYTES = LARGEST;

export class Run {
  constructor({ connection, next, count, interval, sent }) {
    Object.assign(this, { connection, next, count, interval, sent, messages: 0, isStopped: false });
  }

  stop() {
    this.isStopped = true;
  }

  get end() {
    if (this.messages >= this.count) return 'done';
    if (this.isStopped) return 'stopped';
    return this.connection.state === 'open' ? null : 'closed';
  }

  async start() {
    const begin = performance.now();
    while (this.end === null) {
      this.slice(begin);
      if (this.end === null) await pause(this.delay(begin));
    }
    return { messages: this.messages, seconds: (performance.now() - begin) / 1000, why: this.end };
  }

  slice(begin) {
    const until = performance.now() + SLICE;
    while (this.end === null && this.connection.bufferedAmount < MOST_WAITING) {
      const now = performance.now();
      // A timer that was late, as those of hidden pages are, is caught up with.
      if (now >= until || now < begin + this.messages * this.interval) return;
      const data = this.next(this.messages);
      this.connection.send(data);
      this.messages += 1;
      this.sent(data);
    }
  }

  delay(begin) {
    if (this.connection.bufferedAmount >= MOST_WAITING) return 1;
    return Math.max(0, begin + this.messages * this.interval - performance.now());
  }
}

/* What makes generated messages: with their number, where it fits, and of the sizes that were asked for. */
export function generator({ isText, from, to, sizes, count }) {
  const sizeOf = (index) => {
    if (sizes === 'random') return from + Math.floor(Math.random() * (to - from + 1));
    return count > 1 ? Math.round(from + ((to - from) * index) / (count - 1)) : from;
  };
  const pattern = LETTERS.repeat(Math.ceil(to / LETTERS.length));
  return (index) => {
    const head = `${index + 1} `;
    const size = sizeOf(index);
    const text = (head.length <= size ? head + pattern : pattern).slice(0, size);
    return isText ? text : new TextEncoder().encode(text);
  };
}

// With 0: after what waits already, and without the four milliseconds of nested timers.
function pause(milliseconds) {
  if (milliseconds > 0) return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
