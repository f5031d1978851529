/* The client on wsecho's page: one connection back to the server that the page came from, and a log of it.
 *
 * Rules: text of a peer reaches the page by textContent only (the page's policy refuses anything else) and
 * without characters that hide or reorder it. Whatever arrives, the page stays bounded: so many entries, so
 * much of each. What the reader sees is the state; nothing else is kept but the socket and the log's counts.
 */
'use strict';

const MAX_ENTRIES = 500;
const MAX_CHARACTERS_SHOWN = 2000; // of one message
const MAX_BYTES_SHOWN = 128; // of one message
const CHANNEL = /^[A-Za-z0-9._~-]{1,128}$/;

// Controls, and format characters that turn the reading direction round or draw nothing. Line end and tab are
// shown as what they are; the two joiners belong to the spelling of several scripts and of emoji.
const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const STATES = {
  closed: { text: 'Not connected', button: 'Connect' },
  connecting: { text: 'Connecting…', button: 'Cancel' },
  open: { text: 'Connected', button: 'Disconnect' },
  closing: { text: 'Closing…', button: 'Closing…' },
};

// No peer sends these two (RFC 6455 7.4.1): the browser makes them up, so the page says what they stand for.
const NEVER_SENT = { 1005: ' without a code', 1006: ' without a close frame' };

const byId = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
const number = new Intl.NumberFormat('en');
const clock = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3,
});

let socket = null;

/* --- How things look ------------------------------------------------------------------------------------ */

function escaped(character) {
  return `\\u{${character.codePointAt(0).toString(16)}}`;
}

function readable(text) {
  // Cut first: a message of many megabytes must not be searched for the sake of its first lines.
  const shown = text.slice(0, MAX_CHARACTERS_SHOWN).replace(HIDDEN, escaped);
  const rest = text.length - MAX_CHARACTERS_SHOWN;
  return rest > 0 ? `${shown} … ${number.format(rest)} more characters` : shown;
}

function hexDump(bytes) {
  const shown = Array.from(bytes.subarray(0, MAX_BYTES_SHOWN), (byte) => byte.toString(16).padStart(2, '0'));
  const rest = bytes.length - MAX_BYTES_SHOWN;
  return rest > 0 ? `${shown.join(' ')} … ${number.format(rest)} more bytes` : shown.join(' ');
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function setText(id, text) {
  // An alert is read out again whenever it is written, even with the same words.
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function showProblem(id, field, text) {
  setText(id, text);
  field.setAttribute('aria-invalid', String(text !== ''));
}

/* --- The log -------------------------------------------------------------------------------------------- */

const log = {
  waiting: [], // entries not yet in the document, already shortened
  dropped: 0,
  sent: 0,
  received: 0,

  note(text) {
    this.add({ direction: 'note', body: text });
  },

  message(direction, data) {
    const isText = typeof data === 'string';
    this[direction] += 1;
    this.add({
      direction,
      kind: isText ? 'text' : 'binary',
      size: isText ? new TextEncoder().encode(data).length : data.length,
      body: isText ? readable(data) : hexDump(data),
    });
  },

  add(entry) {
    this.waiting.push({ ...entry, time: new Date() });
    // A hidden tab draws nothing, yet messages go on arriving.
    if (this.waiting.length > MAX_ENTRIES) {
      this.waiting.shift();
      this.dropped += 1;
    }
    // Once for each frame: to lay out the log for every message would stop the page under load.
    if (this.waiting.length === 1) requestAnimationFrame(() => this.draw());
  },

  draw() {
    const box = byId('log');
    const entries = byId('entries');
    // Somebody who has scrolled back to read is not thrown to the end.
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
    entries.append(...this.waiting.splice(0).map(entryElement));
    while (entries.childElementCount > MAX_ENTRIES) {
      entries.firstElementChild.remove();
      this.dropped += 1;
    }
    this.showCounts();
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  },

  showCounts() {
    setText('sent', number.format(this.sent));
    setText('received', number.format(this.received));
    byId('empty').hidden = byId('entries').childElementCount > 0;
    byId('dropped').hidden = this.dropped === 0;
    setText('dropped', `Older entries are no longer shown: ${number.format(this.dropped)}`);
  },

  clear() {
    Object.assign(this, { waiting: [], dropped: 0, sent: 0, received: 0 });
    byId('entries').replaceChildren();
    this.showCounts();
  },
};

function entryElement({ direction, kind, size, body, time }) {
  const made = element('li', `entry ${direction}`, '');
  const when = element('time', '', clock.format(time));
  when.dateTime = time.toISOString();
  made.append(when);
  if (direction === 'note') {
    made.append(element('p', 'body', body));
  } else {
    made.append(
      element('span', 'direction', direction),
      element('span', 'kind', kind),
      element('span', 'size', `${number.format(size)} B`),
      size === 0 ? element('p', 'body nothing', 'empty') : element('pre', `body ${kind}`, body),
    );
  }
  return made;
}

/* --- The connection ------------------------------------------------------------------------------------- */

function address() {
  const service = chosen('service');
  const channel = byId('channel').value;
  // Relative to the page, so that it also works below a proxy's path.
  const url = new URL(service === 'broadcast' && channel ? `broadcast/${channel}` : service, document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

function channelProblem() {
  const channel = byId('channel').value;
  if (chosen('service') !== 'broadcast' || channel === '') return '';
  if (!CHANNEL.test(channel)) return 'A channel is 1 to 128 of A-Z a-z 0-9 . _ ~ -';
  // In a URL these two are steps between folders: the browser would ask for another path.
  if (channel === '.' || channel === '..') return 'A browser cannot ask for a channel of this name.';
  return '';
}

function showTarget() {
  const problem = channelProblem();
  byId('channel-field').hidden = chosen('service') !== 'broadcast';
  setText('address', problem ? '' : address());
  showProblem('channel-problem', byId('channel'), problem);
}

function showState(state, text = STATES[state].text) {
  document.body.dataset.state = state;
  setText('state', text);
  setText('toggle', STATES[state].button);
  byId('toggle').disabled = state === 'closing';
  byId('target').disabled = state !== 'closed';
}

function connect() {
  if (channelProblem()) {
    byId('channel').focus();
    return;
  }
  const url = address();
  let wasOpen = false;
  socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  socket.addEventListener('open', () => {
    wasOpen = true;
    opened(url);
  });
  socket.addEventListener('message', ({ data }) => {
    log.message('received', typeof data === 'string' ? data : new Uint8Array(data));
  });
  socket.addEventListener('close', (event) => closed(event, wasOpen));
  showState('connecting');
}

function opened(url) {
  log.note(`Connected to ${url}`);
  showState('open');
  // The same button now disconnects, and the next Enter is meant for a message.
  if (document.activeElement === byId('toggle')) byId(chosen('kind')).focus();
}

function closed({ code, reason }, wasOpen) {
  const isCancelled = !wasOpen && document.body.dataset.state === 'closing';
  socket = null;
  if (wasOpen) {
    const how = `Closed: ${code}${NEVER_SENT[code] ?? ''}`;
    log.note(reason ? `${how}, “${readable(reason)}”` : how);
    showState('closed', how);
  } else if (isCancelled) {
    showState('closed');
  } else {
    // Browsers hide the HTTP status and the TLS error from pages.
    log.note('Could not connect. The browser does not tell pages why; the server’s log may.');
    showState('closed', 'Could not connect');
  }
}

function toggle(event) {
  event.preventDefault();
  if (socket === null) {
    connect();
  } else {
    showState('closing');
    socket.close(1000);
  }
}

/* --- Sending -------------------------------------------------------------------------------------------- */

function showKind() {
  for (const field of document.querySelectorAll('[data-kind]')) field.hidden = field.dataset.kind !== chosen('kind');
  byId('keys').hidden = chosen('kind') === 'file';
  showProblem('problem', byId(chosen('kind')), '');
}

function bytesOf(text) {
  const digits = text.replace(/\s+/g, '');
  if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) throw new Error('Bytes are pairs of hexadecimal digits, such as 00 ff 7f');
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

async function bytesOfFile(file) {
  if (!file) throw new Error('Choose a file first.');
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Error('This file cannot be read.');
  }
}

async function messageIn(field) {
  if (field.id === 'text') return field.value;
  return field.id === 'hex' ? bytesOf(field.value) : bytesOfFile(field.files[0]);
}

async function send(event) {
  event.preventDefault();
  const field = byId(chosen('kind'));
  try {
    const data = await messageIn(field);
    // Not before: while a file is read, the connection may end.
    if (socket?.readyState !== WebSocket.OPEN) throw new Error('Not connected.');
    socket.send(data);
    log.message('sent', data);
    if (field.type !== 'file') field.value = '';
    showProblem('problem', field, '');
  } catch (error) {
    showProblem('problem', field, error.message);
  }
}

function sendOnEnter(event) {
  // An Enter that ends the composition of a character (Chinese, Japanese, Korean) belongs to the input method.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId('composer').requestSubmit();
}

byId('connection').addEventListener('submit', toggle);
byId('connection').addEventListener('input', showTarget);
byId('composer').addEventListener('submit', send);
byId('composer').addEventListener('change', showKind);
byId('text').addEventListener('keydown', sendOnEnter);
byId('hex').addEventListener('keydown', sendOnEnter);
byId('clear').addEventListener('click', () => log.clear());
// After a reload the browser may have put the last choices back.
showTarget();
showKind();
