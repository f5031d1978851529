/* The client on wsecho's page: puts its parts together.
 *
 * What each part is for stands at its top: target.js (where to), connection.js with keeping.js, composer.js (what
 * is sent), many.js, log.js with entry.js, measure.js with plot.js, setup.js (the link), theme.js. facts.js is
 * made by the server, from its tables.
 *
 * Rules: text of a peer reaches the page by textContent only (the page's policy refuses anything else). What goes
 * wrong is one line, beside what it is about. The reader's state is in the fields; the connection's in
 * connection.js; here is none.
 */

import facts from './facts.js';
import { startComposer } from './composer.js';
import { byId, chosen, setText, showParts, showProblem } from './dom.js';
import { SUBPROTOCOL } from './envelope.js';
import { milliseconds, readable } from './format.js';
import { KeepingConnection } from './keeping.js';
import { Log } from './log.js';
import { Measurements } from './measure.js';
import { applySetup, keepSetup } from './setup.js';
import { addressOf, closeArguments, closeCode, serviceAt, subprotocolsOf } from './target.js';
import { startTheme } from './theme.js';

const STATES = {
  closed: { text: 'Not connected', button: 'Connect' },
  connecting: { text: 'Connecting…', button: 'Cancel' },
  open: { text: 'Connected', button: 'Disconnect' },
  closing: { text: 'Closing…', button: 'Wait no longer' },
};
const HINTS = {
  echo: 'What you send comes back.',
  broadcast: 'What you send reaches everyone else on the channel.',
  test: 'An echo that does what its query says.',
  other: 'Any path of this server.',
};
const NONE = '–';

addEventListener('error', ({ message }) => fail(message));
addEventListener('unhandledrejection', ({ reason }) => fail(reason?.message ?? String(reason)));

const log = new Log();
const connection = new KeepingConnection({
  changed: showState,
  received(data, about) {
    log.message('received', data, about);
    measurements.message('received', data);
  },
  closed,
  note: (text) => log.note(text),
  interrupted,
});
const measurements = new Measurements(connection);

function fail(message) {
  byId('failure').hidden = false;
  setText('failure', `The page has failed: ${message}. Reload it.`);
}

/* --- Where to ------------------------------------------------------------------------------------------- */

// [address, subprotocols], or what is wrong and the field in which it is.
function target() {
  const service = chosen('service');
  let field = { broadcast: 'channel', test: 'query', other: 'path' }[service] ?? 'subprotocols';
  try {
    const typed = { service, channel: byId('channel').value, query: byId('query').value, path: byId('path').value };
    const address = addressOf(typed, document.baseURI);
    field = 'subprotocols';
    return { address, subprotocols: subprotocolsOf(byId('subprotocols').value), problem: '', field };
  } catch (error) {
    return { address: '', subprotocols: [], problem: error.message, field };
  }
}

function showTarget() {
  const service = chosen('service');
  const { address, problem, field } = target();
  setText('service-hint', HINTS[service]);
  showParts('service', service);
  for (const name of ['channel', 'query', 'path', 'subprotocols']) byId(name).setAttribute('aria-invalid', 'false');
  showProblem('connection-problem', byId(field), problem);
  setText('address', address);
}

function offerKnobs() {
  byId('test-choice').hidden = !facts.knobs;
  for (const { usage } of facts.knobs ?? []) byId('knob').append(new Option(usage, usage));
  byId('knob').addEventListener('change', () => {
    const knob = facts.knobs.find(({ usage }) => usage === byId('knob').value);
    if (!knob) return;
    const query = byId('query');
    query.value = query.value ? `${query.value}&${knob.example}` : knob.example;
    setText('knob-effect', `${knob.usage}: ${knob.effect} Accepted: ${knob.accepted}.`);
    byId('knob').value = '';
    showTarget();
  });
}

/* --- The connection ------------------------------------------------------------------------------------- */

function toggle(event) {
  event.preventDefault();
  if (connection.state === 'closed') connect();
  else disconnect();
}

function connect() {
  const { address, subprotocols, problem, field } = target();
  if (problem) {
    byId(field).focus();
    return;
  }
  for (const name of ['subprotocol', 'extensions', 'opened', 'closed']) setText(name, NONE);
  // Else the focus would be lost with the field that it is in.
  if (byId('target').contains(document.activeElement)) byId('toggle').focus();
  const isAsked = byId('keep').checked || subprotocols.includes(SUBPROTOCOL);
  if (chosen('service') === 'broadcast' && isAsked) connection.keep(address);
  else connection.open(address, subprotocols);
}

function disconnect() {
  try {
    const closing = closeArguments(byId('code').value, byId('reason').value);
    showProblem('close-problem', byId('code'), '');
    connection.close(...closing);
  } catch (error) {
    byId('closing').open = true;
    showProblem('close-problem', byId('code'), error.message);
    byId('code').focus();
  }
}

function showState() {
  const { state } = connection;
  document.body.dataset.state = state;
  if (state !== 'closed') setText('state', STATES[state].text);
  setText('toggle', STATES[state].button);
  byId('target').disabled = state !== 'closed';
  if (state === 'open') opened();
}

function opened() {
  const { address, subprotocol, extensions, openedIn } = connection;
  measurements.opened(['echo', 'test'].includes(serviceAt(address, document.baseURI)));
  log.note(subprotocol ? `Connected to ${address}, subprotocol ${subprotocol}` : `Connected to ${address}`);
  setText('subprotocol', subprotocol || 'none');
  setText('extensions', extensions || 'none');
  setText('opened', milliseconds(openedIn));
  setText('closed', NONE);
  // The same button now disconnects, and the next Enter is meant for a message.
  if (document.activeElement === byId('toggle')) byId(chosen('kind')).focus();
}

function closed({ how, code, reason, wasClean }) {
  if (how === 'cancelled') {
    setText('state', STATES.closed.text);
  } else if (how === 'failed') {
    // Browsers hide the HTTP status and the TLS error from pages, and take an answer without one of the
    // subprotocols for none.
    const names = connection.subprotocols.join(', ');
    const perhaps = names ? ` Perhaps it speaks none of the subprotocols: ${names}.` : '';
    log.note(`Could not connect. The browser does not tell pages why; the server’s log may.${perhaps}`);
    setText('state', 'Could not connect');
  } else {
    const row = closeCode(code);
    const words = inWords(code, reason);
    const manner = wasClean ? 'clean' : 'not clean';
    setText('state', `Closed: ${code}`);
    setText('closed', `${words}, ${manner}${row ? `: ${row.meaning}` : ''}`);
    log.note(how === 'abandoned' ? 'Closed without waiting for the server' : `Closed: ${words}, ${manner}`);
  }
}

function interrupted({ code, reason, seconds }) {
  setText('closed', inWords(code, reason));
  log.note(`Disconnected: ${inWords(code, reason)}; again in ${milliseconds(seconds * 1000)}`);
}

function inWords(code, reason) {
  const row = closeCode(code);
  const said = reason ? `, “${readable(reason, facts.longestReason)}”` : '';
  return `${row ? `${code} ${row.name}` : code}${said}`;
}

/* --- The page ------------------------------------------------------------------------------------------- */

function applyLink() {
  // An open connection keeps the fields that it was made with.
  if (connection.state !== 'closed') return;
  applySetup(location.hash.slice(1));
  composer.show();
  showTarget();
}

const composer = startComposer({
  connection,
  note: (text) => log.note(text),
  sent(data) {
    log.message('sent', data);
    measurements.message('sent', data);
  },
  changed: keepSetup,
});
for (const code of facts.closeCodes.filter(({ first }) => first === 1000 || first >= 3000)) {
  byId('codes').append(new Option(code.name, code.first));
}
offerKnobs();
startTheme(byId('theme'));
byId('connection').addEventListener('submit', toggle);
byId('connection').addEventListener('input', showTarget);
document.addEventListener('change', keepSetup);
addEventListener('hashchange', applyLink);
applyLink();
