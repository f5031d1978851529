/* What is measured: how long echoes take, and how many messages pass in a second.
 *
 * Rules: a time is measured only where what is sent comes back, on echo paths. Echoes come in the order of what
 * was sent, so a message that comes is the echo of the oldest one that is out, if it is of its kind and length;
 * if not, the server said it of itself. What is out is bounded. Nothing is done for a message but to count it.
 */

import { byId, setText } from './dom.js';
import { milliseconds, rate, size } from './format.js';
import { Plot } from './plot.js';

const TICK = 500; // milliseconds
const SECONDS = 60; // of the plots
const RECENT = 2000; // echoes, of which the numbers are
const MOST_OUT = 100_000; // messages without their echo

/* Messages that are out, and how long the echoes took. */
export class Echoes {
  constructor() {
    this.recent = new Float64Array(RECENT);
    this.reset();
  }

  reset() {
    Object.assign(this, { out: [], oldest: 0, fresh: [], count: 0 });
  }

  sent(kind, length, now) {
    if (this.out.length - this.oldest < MOST_OUT) this.out.push({ kind, length, time: now });
  }

  received(kind, length, now) {
    const first = this.out[this.oldest];
    if (first === undefined || first.kind !== kind || first.length !== length) return;
    this.oldest += 1;
    if (this.oldest === this.out.length || this.oldest > 10_000) {
      this.out = this.out.slice(this.oldest);
      this.oldest = 0;
    }
    const took = now - first.time;
    this.recent[this.count % RECENT] = took;
    this.count += 1;
    this.fresh.push(took);
  }

  /* Of the echoes since the last call: [median, p99], or nulls. */
  take() {
    const fresh = Float64Array.from(this.fresh).sort();
    this.fresh = [];
    return [quantile(fresh, 0.5), quantile(fresh, 0.99)];
  }

  /* Of the last 2,000: { last, median, p99 }; null without any. */
  get numbers() {
    if (this.count === 0) return null;
    const sorted = this.recent.slice(0, Math.min(this.count, RECENT)).sort();
    const last = this.recent[(this.count - 1) % RECENT];
    return { last, median: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
  }
}

export function quantile(sorted, share) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null;
}

export class Measurements {
  constructor(connection) {
    const capacity = (SECONDS * 1000) / TICK + 2;
    this.connection = connection;
    this.echoes = new Echoes();
    this.latency = new Plot(byId('latency-plot'), {
      title: 'Latency', series: ['median', 'p99'], seconds: SECONDS, capacity, least: 0.1, format: milliseconds,
      empty: 'Send something to an echo.',
    });
    this.rates = new Plot(byId('rate-plot'), {
      title: 'Messages each second', series: ['sent', 'received'], seconds: SECONDS, capacity, format: rate,
      empty: 'Nothing yet.',
    });
    this.counts = { sent: 0, received: 0 };
    this.isEcho = false;
    this.lastTick = performance.now();
    this.activeUntil = 0;
    setInterval(() => this.tick(performance.now()), TICK);
    new ResizeObserver(() => this.draw(performance.now())).observe(byId('latency-plot'));
  }

  opened(isEcho) {
    this.isEcho = isEcho;
    this.echoes.reset();
    this.latency.empty = isEcho ? 'Send something to an echo.' : 'Measured where what is sent comes back.';
  }

  message(direction, data) {
    this.counts[direction] += 1;
    if (this.isEcho) this.echoes[direction](typeof data, data.length, performance.now());
  }

  tick(now) {
    const seconds = (now - this.lastTick) / 1000;
    this.lastTick = now;
    const { sent, received } = this.counts;
    // A connection may have come and gone since the last look.
    const isActive = this.connection.state !== 'closed' || sent + received > 0;
    const rates = isActive ? [sent / seconds, received / seconds] : [null, null];
    this.counts = { sent: 0, received: 0 };
    // After the end, the lines leave to the left, and then nothing moves any more.
    if (isActive) this.activeUntil = now + SECONDS * 1000 + TICK;
    else if (now > this.activeUntil) return;
    this.rates.add(now, rates);
    const taken = this.echoes.take();
    if (taken[0] !== null) this.latency.add(now, taken);
    this.draw(now);
    this.showNumbers(rates);
  }

  draw(now) {
    if (document.hidden) return;
    this.rates.draw(now);
    this.latency.draw(now);
  }

  showNumbers(rates) {
    const numbers = this.echoes.numbers;
    for (const name of ['last', 'median', 'p99']) {
      setText(`latency-${name}`, numbers ? milliseconds(numbers[name]) : '–');
    }
    setText('rate-sent', rates[0] === null ? '–' : rate(rates[0]));
    setText('rate-received', rates[1] === null ? '–' : rate(rates[1]));
    setText('buffered', size(this.connection.bufferedAmount));
  }
}
