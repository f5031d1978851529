/* The server: what it listens on, since when it is up, and starting, pausing and stopping it.
 *
 * Start listens and accepts; Pause leaves new connections in the kernel; Stop closes the ports, after a question.
 * Connections that are open go on through all of it.
 */

import { byId, setText, showProblem } from './dom.js';
import { milliseconds, number } from './format.js';
import { ask } from './operator-api.js';

const STATES = {
  starting: ['Starting', 'busy', 'Not every listener listens yet.'],
  ready: ['Listening', 'good', 'New connections are accepted.'],
  paused: ['Paused', 'busy', 'New connections wait in the kernel. Those that are open go on.'],
  closed: ['Stopped', 'bad', 'The ports are closed: new connections are refused. Those that are open go on.'],
  draining: ['Draining', 'busy', 'The server is ending.'],
  'engine-away': ['Engine away', 'bad', 'What connects the channels of several processes cannot be reached.'],
};
const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

export class Server {
  constructor(changed) {
    this.changed = changed;
    this.facts = null;
    this.isChanging = false;
    byId('start').addEventListener('click', () => this.start());
    byId('pause').addEventListener('click', () => this.change(() => accept(false), 'start'));
    byId('stop').addEventListener('click', () => this.confirmStop());
    byId('confirm-stop').addEventListener('close', () => {
      if (byId('confirm-stop').returnValue === 'stop') this.change(() => listen(false), 'start');
    });
  }

  show({ server, lag }) {
    this.facts = server;
    const [word, look, hint] = STATES[server.state] ?? [server.state, 'busy', ''];
    byId('pill').className = `state end ${look}`;
    setText('state', word);
    setText('server-hint', hint);
    showList('urls', server.urls.length ? server.urls : ['nothing']);
    // The seconds that an answer takes would let the time jump to and fro.
    const since = new Date(Math.round((Date.now() - server.uptime_seconds * 1000) / 5000) * 5000);
    if (this.since === undefined || Math.abs(since - this.since) > 5000) this.since = since;
    setText('since', moment.format(this.since));
    byId('since').dateTime = this.since.toISOString();
    setText('channels', number(server.channels));
    setText('lag', `${milliseconds(lag.largest_seconds * 1000)} at most in the last minute`);
    setText('engine', `${server.engine.name}, ${server.engine.is_up ? 'up' : 'away'}`);
    showList('certificates', server.certificates.length ? server.certificates.map(certificate) : ['none']);
    setText('versions', Object.entries(server.versions).map((pair) => pair.join(' ')).join(', '));
    this.showButtons();
  }

  showAway() {
    this.facts = null;
    this.showButtons();
  }

  showButtons() {
    const { state, listening, accepting } = this.facts ?? {};
    const mayChange = this.facts !== null && !this.isChanging && state !== 'starting' && state !== 'draining';
    byId('start').disabled = !mayChange || (listening && accepting);
    byId('pause').disabled = !mayChange || !listening || !accepting;
    byId('stop').disabled = !mayChange || !listening;
  }

  start() {
    const { listening, accepting } = this.facts;
    this.change(async () => {
      if (!listening) await listen(true);
      if (!accepting) await accept(true);
    }, 'pause');
  }

  confirmStop() {
    const { connections } = this.facts;
    const stay = connections === 1 ? 'The open connection stays.' : `The ${number(connections)} open connections stay.`;
    setText('confirm-text', `The ports are closed, and whoever connects is refused. ${connections ? stay : ''}`);
    byId('confirm-stop').returnValue = '';
    byId('confirm-stop').showModal();
  }

  /* Do it, and give the keys to the button that is of use next, since the one that was pressed is none any more. */
  async change(what, next) {
    this.isChanging = true;
    this.showButtons();
    showProblem('server-problem', byId('stop'), '');
    try {
      await what();
    } catch (error) {
      setText('server-problem', error.message);
    }
    this.isChanging = false;
    this.changed();
    this.focusWhenEnabled(next);
  }

  focusWhenEnabled(id) {
    const button = byId(id);
    const look = () => {
      if (button.disabled) return;
      observer.disconnect();
      if (document.activeElement === document.body) button.focus();
    };
    const observer = new MutationObserver(look);
    observer.observe(button, { attributes: true, attributeFilter: ['disabled'] });
    setTimeout(() => observer.disconnect(), 5000);
    look();
  }
}

const accept = (accepting) => ask('PUT', 'accepting', { body: { accepting } });
const listen = (listening) => ask('PUT', 'listening', { body: { listening } });

function certificate({ names, days_left: days }) {
  return `${names}: ${days < 0 ? 'over' : `${number(days)} days left`}`;
}

function showList(id, lines) {
  const list = byId(id);
  if (list.childElementCount === lines.length && lines.every((line, at) => list.children[at].textContent === line)) return;
  list.replaceChildren(...lines.map((line) => {
    const item = document.createElement('li');
    item.textContent = line;
    return item;
  }));
}
