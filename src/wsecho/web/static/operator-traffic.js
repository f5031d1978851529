/* Live plots of connections, messages a second, and what waits to be sent. */

import { byId } from './dom.js';
import { number, rate, size } from './format.js';
import { Plot } from './plot.js';

const SECONDS = 120;
const CAPACITY = 2 * SECONDS;

export class Traffic {
  constructor() {
    const options = { seconds: SECONDS, capacity: CAPACITY, empty: 'Waiting for the first answer.' };
    this.connections = new Plot(byId('plot-connections'), {
      ...options, title: 'Connections', series: ['open'], format: number, least: 4,
    });
    this.messages = new Plot(byId('plot-messages'), {
      ...options, title: 'Messages/s', series: ['in', 'out'], format: rate, least: 4,
    });
    this.queue = new Plot(byId('plot-queue'), {
      ...options, title: 'Queued', series: ['all', 'largest'], format: size, least: 1000,
    });
    this.plots = [this.connections, this.messages, this.queue];
    this.before = null;
  }

  show({ server, totals }) {
    const now = performance.now();
    const sum = (name) => totals.services.reduce((all, service) => all + service[name], 0);
    const latest = { uptime: server.uptime_seconds, in: sum('received_messages'), out: sum('sent_messages') };
    // By the server's clock: the answer may have been on its way for any time.
    const seconds = this.before === null ? 0 : latest.uptime - this.before.uptime;
    // Less than before: it is another server.
    const perSecond = (name) => (seconds > 0 ? Math.max(0, latest[name] - this.before[name]) / seconds : null);
    this.connections.add(now, [server.connections]);
    this.messages.add(now, [perSecond('in'), perSecond('out')]);
    this.queue.add(now, [totals.queued_bytes, totals.largest_queue_bytes]);
    this.before = latest;
    this.draw(now);
  }

  showAway() {
    const now = performance.now();
    for (const plot of this.plots) plot.add(now, [null, null]);
    this.before = null;
    this.draw(now);
  }

  draw(now) {
    for (const plot of this.plots) plot.draw(now);
  }
}
