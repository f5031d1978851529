/* Where a connection goes: from what was typed to the address and the subprotocols, and what is served there.
 *
 * Rules: pure functions. Only this server is a target, for the browser lets the page connect to no other
 * (connect-src 'self'); that is said here, in words, before the browser says it in its console. What the server
 * or the browser would refuse without telling the page why is refused here, with one line.
 *
 * `base` is the address of the page: it may lie below a path of a proxy, and so do the services then.
 */

import facts from './facts.js';

const CHANNEL = new RegExp(`^${facts.channel}$`);
// RFC 6455 4.1: a token of RFC 9110.
const LETTERS = 'A name has letters, digits and ! # $ % & \' * + . ^ _ ` | ~ -';
const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

/* The address for a choice of service and the field that belongs to it. */
export function addressOf({ service, channel, query, path }, base) {
  if (service === 'echo') return within('echo', base);
  if (service === 'broadcast') return within(channel ? `broadcast/${checkedChannel(channel)}` : 'broadcast', base);
  if (service === 'test') return within(query ? `test?${checkedQuery(query)}` : 'test', base);
  return typed(path.trim(), base);
}

export function subprotocolsOf(text) {
  const names = text.split(',').map((name) => name.trim()).filter(Boolean);
  for (const name of names) {
    if (!TOKEN.test(name)) throw new Error(`Subprotocols: “${name}” is no name. ${LETTERS}`);
  }
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice) throw new Error(`Subprotocols: “${twice}” is there twice.`);
  return names;
}

/* Which service answers at an address: echo, broadcast, test, or null for none that is known. */
export function serviceAt(address, base) {
  const below = new URL('.', base).pathname;
  const { pathname } = new URL(address);
  if (!pathname.startsWith(below)) return null;
  const path = pathname.slice(below.length);
  if (path === '') return facts.mode;
  if (path === 'broadcast' || path.startsWith('broadcast/')) return 'broadcast';
  return path === 'echo' || (path === 'test' && facts.knobs) ? path : null;
}

/* The row of the table of close codes that a code belongs to. */
export function closeCode(code) {
  return facts.closeCodes.find(({ first, last }) => first <= code && code <= last) ?? null;
}

/* What WebSocket.close() takes: [], [code] or [code, reason]. */
export function closeArguments(code, reason) {
  const digits = code.trim();
  if (digits === '') {
    if (reason) throw new Error('A reason needs a code.');
    return [];
  }
  const value = /^\d+$/.test(digits) ? Number(digits) : NaN;
  // What the interface of browsers takes; the others are for servers and protocols.
  if (value !== 1000 && !(value >= 3000 && value <= 4999)) {
    throw new Error('A browser closes with 1000, or 3000 to 4999, or, left empty, without a code.');
  }
  const bytes = new TextEncoder().encode(reason).length;
  if (bytes > facts.longestReason) {
    throw new Error(`The reason has ${bytes} bytes; a Close frame holds ${facts.longestReason}.`);
  }
  return reason ? [value, reason] : [value];
}

function within(relative, base) {
  return socketAddress(new URL(relative, base));
}

function socketAddress(url) {
  url.protocol = url.protocol === 'https:' ? 'wss:' : url.protocol === 'http:' ? 'ws:' : url.protocol;
  return url.href;
}

function checkedChannel(channel) {
  if (!CHANNEL.test(channel)) throw new Error('A channel is 1 to 128 of A-Z a-z 0-9 . _ ~ -');
  // In a URL these two are steps between folders: the browser would ask for another path.
  if (channel === '.' || channel === '..') throw new Error('A browser cannot ask for a channel of this name.');
  return channel;
}

function checkedQuery(query) {
  if (query.includes('#')) throw new Error('Write # as %23: behind it nothing is sent to a server.');
  return query.replace(/^\?/, '');
}

function typed(path, base) {
  let url;
  try {
    url = new URL(path, base);
  } catch {
    throw new Error('This is neither a path nor an address.');
  }
  if (!/^(?:https?|wss?):$/.test(url.protocol)) throw new Error('An address begins with ws: or wss:, a path with /.');
  const own = new URL(within('.', base));
  const asked = new URL(socketAddress(url));
  if (asked.host !== own.host || asked.protocol !== own.protocol || url.username || url.password) {
    throw new Error(`This page connects only to ${own.protocol}//${own.host}, where it came from.`);
  }
  if (url.hash || path.endsWith('#')) throw new Error('A WebSocket address has no # part.');
  if (/(?:^|\/)\.\.?(?:[/?]|$)/.test(path)) throw new Error('A browser removes the steps . and .. from a path.');
  const broadcast = new URL('broadcast/', base).pathname;
  if (asked.pathname.startsWith(broadcast)) checkedChannel(asked.pathname.slice(broadcast.length));
  return asked.href;
}
