/* The operator's page: asks for an overview once a second, and gives it to its parts.
 *
 * Rules: one request at a time, none while the tab is hidden, and fewer when the server takes long for them. Text
 * of a peer reaches the page by textContent only; the page's policy refuses anything else. Each part has a module
 * of its own and an element or two; this one knows all of them, they do not know each other.
 */

import { byId, setText, showProblem } from './dom.js';
import { ApiError, ask, hasToken, setToken } from './operator-api.js';
import { Connections } from './operator-connections.js';
import { showEnds } from './operator-ends.js';
import { Messages } from './operator-messages.js';
import { startPublishing } from './operator-publish.js';
import { Server } from './operator-server.js';
import { Traffic } from './operator-traffic.js';
import { showWorkers } from './operator-workers.js';
import { startTheme } from './theme.js';

const INTERVAL = 1000; // milliseconds
const SHARE = 4; // so many times what the last answer took, at least: the server has others to serve

let timer = null;
let asking = null;

const server = new Server(pollNow);
const traffic = new Traffic();
const messages = new Messages();
const connections = new Connections(pollNow, (id) => messages.watchConnection(id));

/* --- Asking once a second ----------------------------------------------------------------------------------- */

async function poll() {
  timer = null;
  if (document.hidden) return;
  const begun = performance.now();
  const mine = new AbortController();
  asking = mine;
  try {
    show(await ask('GET', 'overview', { query: connections.query, signal: mine.signal }));
  } catch (error) {
    // Another question has taken the place of this one.
    if (mine.signal.aborted) return;
    if (error instanceof ApiError && error.status === 401) {
      askForToken();
      return;
    }
    showAway(error);
  }
  if (asking !== mine) return;
  asking = null;
  const took = performance.now() - begun;
  timer = setTimeout(poll, Math.max(INTERVAL - took, SHARE * took));
}

function pollNow() {
  clearTimeout(timer);
  asking?.abort();
  asking = null;
  poll();
}

function stopPolling() {
  clearTimeout(timer);
  timer = null;
  asking?.abort();
  asking = null;
}

function show(overview) {
  showPart('console');
  byId('sign-out').hidden = !hasToken();
  server.show(overview);
  traffic.show(overview);
  connections.show(overview.connections);
  showEnds(overview.totals);
  showWorkers(overview.server.workers);
}

function showAway(error) {
  showPart('console');
  byId('pill').className = 'state end bad';
  setText('state', error instanceof ApiError ? `Error ${error.status}` : 'Not reachable');
  server.showAway();
  traffic.showAway();
}

/* --- The token ---------------------------------------------------------------------------------------------- */

function showPart(id) {
  for (const part of ['console', 'sign-in']) byId(part).hidden = part !== id;
}

function askForToken() {
  stopPolling();
  messages.stop();
  showPart('sign-in');
  byId('sign-out').hidden = true;
  byId('pill').className = 'state end busy';
  setText('state', 'Token needed');
  showProblem('token-problem', byId('token'), hasToken() ? 'The server does not know this token.' : '');
  setToken(null);
  byId('token').value = '';
  byId('token').focus();
}

function signIn(event) {
  event.preventDefault();
  const token = byId('token').value.trim();
  // What a header can hold (RFC 6750 section 2.1); fetch would throw at anything else.
  if (!/^[\w.~+/-]+=*$/.test(token)) {
    showProblem('token-problem', byId('token'), 'A token is one line of letters, digits and - . _ ~ + /');
    byId('token').focus();
    return;
  }
  setToken(token);
  byId('token').value = '';
  pollNow();
}

function signOut() {
  setToken(null);
  askForToken();
}

/* --- Start -------------------------------------------------------------------------------------------------- */

byId('sign-in').addEventListener('submit', signIn);
byId('sign-out').addEventListener('click', signOut);
document.addEventListener('visibilitychange', () => {
  if (!byId('sign-in').hidden) return;
  if (document.hidden) stopPolling();
  else pollNow();
  messages.visibilityChanged();
});
startTheme(byId('theme'));
startPublishing();
poll();
