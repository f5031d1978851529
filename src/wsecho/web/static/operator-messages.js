/* Messages as they pass: a stream that the server samples, read while somebody watches and the tab is shown.
 *
 * Rules: nothing is read before Watch is pressed: what clients say is shown. The list stays bounded, whatever
 * arrives, and is drawn once for each frame. The stream is fetched, not an EventSource, which can send no token.
 */

import { byId, setText, showProblem } from './dom.js';
import { number, size, timeOfDay } from './format.js';
import { ApiError, open } from './operator-api.js';

const MAX_ENTRIES = 200;
const MAX_LINE = 65_536; // characters; the server's are far below
const RETRY = 2000; // milliseconds

export class Messages {
  constructor() {
    this.isWanted = false;
    this.reading = null; // the AbortController of the stream
    this.waiting = [];
    byId('watch').addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.isWanted) this.stop();
      else this.start();
    });
    byId('watch-clear').addEventListener('click', () => this.clear());
  }

  start() {
    const number = byId('watch-connection').value.trim();
    const problem = number && !/^[1-9][0-9]{0,18}$/.test(number) ? 'A connection is named by its number.' : '';
    showProblem('watch-problem', byId('watch-connection'), problem);
    if (problem) return;
    this.query = { connection: number || null, channel: byId('watch-channel').value.trim() || null };
    this.isWanted = true;
    this.showState();
    this.read();
  }

  watchConnection(id) {
    this.stop();
    byId('watch-connection').value = id;
    byId('watch-channel').value = '';
    this.start();
    byId('watch').scrollIntoView({ block: 'nearest' });
    byId('watch-toggle').focus();
  }

  stop() {
    this.isWanted = false;
    byId('log').dataset.isRead = false;
    this.reading?.abort();
    this.reading = null;
    clearTimeout(this.timer);
    this.showState();
  }

  visibilityChanged() {
    if (!this.isWanted) return;
    if (document.hidden) this.reading?.abort();
    else this.read();
  }

  showState() {
    setText('watch-toggle', this.isWanted ? 'Stop watching' : 'Watch');
    for (const id of ['watch-connection', 'watch-channel']) byId(id).disabled = this.isWanted;
    const wait = 'Nothing has passed yet.';
    setText('unwatched', this.isWanted ? wait : 'Press Watch to see what clients send. Content is shown to you.');
  }

  async read() {
    this.reading?.abort();
    clearTimeout(this.timer);
    const mine = new AbortController();
    this.reading = mine;
    try {
      const response = await open('GET', 'messages', { query: this.query, signal: mine.signal });
      setText('watch-problem', '');
      byId('log').dataset.isRead = true;
      for await (const line of linesOf(response.body)) this.add(JSON.parse(line));
      // The server ends each stream after a while.
      if (this.isWanted && this.reading === mine) this.timer = setTimeout(() => this.read(), 0);
    } catch (error) {
      if (mine.signal.aborted) return;
      setText('watch-problem', error instanceof ApiError ? error.message : 'The stream broke. Trying again.');
      if (error instanceof ApiError) this.stop();
      else this.timer = setTimeout(() => this.read(), RETRY);
    }
  }

  add(sample) {
    this.waiting.push(sample);
    if (this.waiting.length > MAX_ENTRIES) this.waiting.shift();
    if (this.waiting.length === 1) requestAnimationFrame(() => this.draw());
  }

  draw() {
    const box = byId('log');
    const entries = byId('entries');
    // Somebody who has scrolled back to read is not thrown to the end.
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    entries.append(...this.waiting.splice(0).map(entry));
    while (entries.childElementCount > MAX_ENTRIES) entries.firstElementChild.remove();
    byId('unwatched').hidden = entries.childElementCount > 0;
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  }

  clear() {
    this.waiting = [];
    byId('entries').replaceChildren();
    byId('unwatched').hidden = false;
  }
}

/* Lines of a body that comes in pieces; empty ones are left out. */
async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    if (rest.length > MAX_LINE) throw new Error('a line without end');
    yield* lines.filter((line) => line !== '');
  }
}

function entry(sample) {
  const made = document.createElement('li');
  const when = part('time', 'when', timeOfDay(new Date(sample.time)));
  when.dateTime = sample.time;
  const who = sample.connection === null ? 'published here' : `no. ${sample.connection}, ${sample.peer}`;
  const where = sample.channel ? `${sample.service} ${sample.channel}` : sample.service;
  const content = sample.size ? sample.beginning : 'empty';
  made.append(
    when,
    part('span', 'who', who),
    part('span', 'where', where),
    part('span', 'kind', `${sample.kind}, ${size(sample.size)}`),
    part('pre', sample.size ? 'content' : 'content nothing', content),
  );
  if (sample.dropped) made.prepend(part('p', 'dropped', `${number(sample.dropped)} left out: not read fast enough`));
  return made;
}

function part(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
