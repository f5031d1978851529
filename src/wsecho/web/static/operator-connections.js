/* The table of open connections: filter, pages, and the dialog that disconnects one.
 *
 * Rules: a row lives as long as its connection is on the page, and only what differs is written, so that the keys,
 * a selection or a place in the scrolled table are not lost each second.
 */

import { byId, setText, showProblem } from './dom.js';
import { number, size } from './format.js';
import { ApiError, ask } from './operator-api.js';

const LIMIT = 100; // rows
const LONG = 24; // characters
const FILTER_DELAY = 200; // milliseconds, so that not each key is a question
const DAY = 86_400_000;
const today = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const earlier = new Intl.DateTimeFormat('en-GB', { dateStyle: 'short', timeStyle: 'short' });

/* What stands in a row: for each cell its lines, each with a name and how it is made of a connection. */
const CELLS = [
  { lines: { peer: (one) => `${one.peer}${one.is_secure ? ' TLS' : ''}`, path: (one) => one.path } },
  {
    lines: {
      service: (one) => one.service,
      channel: (one) => (one.channel === '' ? 'unnamed' : one.channel ?? '–'),
    },
  },
  { lines: { since: (one) => since(new Date(one.since)) } },
  {
    className: 'number',
    lines: {
      received_messages: (one) => number(one.received_messages),
      received_bytes: (one) => size(one.received_bytes),
    },
  },
  {
    className: 'number',
    lines: { sent_messages: (one) => number(one.sent_messages), sent_bytes: (one) => size(one.sent_bytes) },
  },
  { className: 'number', lines: { queued_bytes: (one) => size(one.queued_bytes) } },
];

function since(date) {
  return (Date.now() - date < DAY ? today : earlier).format(date);
}

export class Connections {
  constructor(ask, watch) {
    this.ask = ask;
    this.watch = watch;
    this.rows = new Map();
    this.after = 0;
    this.next = null;
    byId('search').addEventListener('input', () => this.filterLater());
    byId('first-page').addEventListener('click', () => this.turnTo(0));
    byId('next-page').addEventListener('click', () => this.turnTo(this.next));
    byId('disconnect-form').addEventListener('submit', (event) => this.disconnect(event));
    byId('disconnect-cancel').addEventListener('click', () => byId('disconnect').close());
  }

  get query() {
    return { search: byId('search').value || null, after: this.after || null, limit: LIMIT };
  }

  filterLater() {
    clearTimeout(this.filterTimer);
    this.filterTimer = setTimeout(() => this.turnTo(0), FILTER_DELAY);
  }

  turnTo(after) {
    this.after = after ?? 0;
    this.ask();
  }

  show({ connections, total, next }) {
    if (!connections.length && this.after) {
      // Those on this page have left.
      this.after = 0;
    }
    this.next = next;
    const shown = new Set(connections.map((one) => one.id));
    for (const [id, row] of this.rows) {
      if (!shown.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    const body = byId('rows');
    connections.forEach((one, at) => {
      const row = this.rows.get(one.id) ?? this.add(one.id);
      if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
      fill(row, one);
    });
    this.showCount(connections.length, total);
  }

  showCount(shown, total) {
    const isFiltered = byId('search').value !== '';
    setText('connections-count', shown === total ? number(total) : `${number(shown)} of ${number(total)}`);
    setText('nobody', isFiltered ? 'Nobody passes the filter.' : 'Nobody is connected.');
    byId('nobody').hidden = shown > 0;
    byId('paging').hidden = this.next === null && !this.after;
    byId('first-page').disabled = !this.after;
    byId('next-page').disabled = this.next === null;
  }

  add(id) {
    const row = document.createElement('tr');
    const name = document.createElement('th');
    name.scope = 'row';
    name.textContent = id;
    const cells = CELLS.map(({ className = '', lines }) => {
      const cell = document.createElement('td');
      cell.className = className;
      cell.append(...Object.keys(lines).map(lineOf));
      return cell;
    });
    const actions = document.createElement('td');
    actions.className = 'actions';
    actions.append(
      button('Watch', `Watch connection ${id}`, () => this.watch(id)),
      button('Disconnect', `Disconnect connection ${id}`, () => this.openDialog(id), 'danger'),
    );
    row.append(name, ...cells, actions);
    row.dataset.id = id;
    this.rows.set(id, row);
    return row;
  }

  openDialog(id) {
    this.chosen = id;
    setText('disconnect-title', `Disconnect connection ${id}`);
    showProblem('disconnect-problem', byId('code'), '');
    byId('disconnect').showModal();
    byId('code').select();
  }

  async disconnect(event) {
    event.preventDefault();
    const [id, code, reason] = [this.chosen, byId('code').value.trim(), byId('reason').value];
    try {
      await ask('DELETE', `connections/${id}`, { query: { code, reason: reason || null } });
      setText('disconnected', `Connection ${id} is being closed with ${code}.`);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) {
        showProblem('disconnect-problem', byId('code'), error.message);
        byId('code').focus();
        return;
      }
      setText('disconnected', `Connection ${id} had left already.`);
    }
    byId('disconnect').close();
    byId('reason').value = '';
    this.ask();
  }
}

function button(text, name, press, className = '') {
  const made = document.createElement('button');
  made.type = 'button';
  made.className = `small ${className}`;
  made.textContent = text;
  made.setAttribute('aria-label', name);
  made.addEventListener('click', press);
  return made;
}

function lineOf(name) {
  const made = document.createElement('div');
  made.dataset.name = name;
  return made;
}

function fill(row, one) {
  CELLS.forEach(({ lines }, at) => {
    Object.values(lines).forEach((write, index) => {
      const line = row.children[at + 1].children[index];
      const text = write(one);
      if (line.textContent === text) return;
      line.textContent = text;
      // What does not fit is cut off.
      line.title = text.length > LONG ? text : '';
    });
  });
}
