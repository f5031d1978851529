/* One entry of the log as a part of the page: a message or a note about the connection.
 *
 * Rules: an entry shows the beginning of its message; More shows so much of it as a page can bear, Copy takes all
 * that is still kept. Its buttons are reached by Tab in the entry that has the focus only: five hundred entries
 * must not stand between the log and what comes after it.
 */

import { byId } from './dom.js';
import { hex, hexDump, hexLine, number, readable, timeOfDay } from './format.js';

const CHARACTERS = { short: 500, long: 100_000 };
const BYTES = { short: 64, long: 16_384 };

/* `entry` is one of log.js. */
export function elementOf(entry) {
  const made = byId(entry.direction === 'note' ? 'note' : 'entry').content.cloneNode(true).firstElementChild;
  made.entry = entry;
  made.classList.add(entry.direction);
  const when = new Date(entry.time);
  const time = made.querySelector('time');
  time.textContent = timeOfDay(when);
  time.dateTime = when.toISOString();
  const body = made.querySelector('.body');
  if (entry.direction === 'note') {
    body.textContent = readable(entry.data, CHARACTERS.long);
    return made;
  }
  made.querySelector('.direction').textContent = entry.direction;
  made.querySelector('.kind').textContent = entry.kind;
  made.querySelector('.size').textContent = `${number(entry.size)} B`;
  made.querySelector('.about').textContent = entry.about;
  body.classList.add(entry.kind);
  made.querySelector('.more').hidden = !isLong(entry);
  made.querySelector('.copy').hidden = entry.size === 0;
  showBody(made, false);
  return made;
}

export function toggleMore(element) {
  const button = element.querySelector('.more');
  if (!button || button.hidden) return;
  const isLess = button.getAttribute('aria-expanded') === 'true';
  button.setAttribute('aria-expanded', String(!isLess));
  button.textContent = isLess ? 'More' : 'Less';
  showBody(element, !isLess);
}

/* Put the message of an entry on the clipboard; what happened, in one line. */
export async function copy(element) {
  const { data, isCut } = element.entry;
  const text = typeof data === 'string' ? data : hex(data);
  try {
    await write(text);
    return isCut ? 'Copied the beginning; the rest is no longer kept' : 'Copied';
  } catch {
    return 'The browser does not allow copying';
  }
}

/* Reach its buttons by Tab, or not. */
export function setCurrent(element, isCurrent) {
  for (const button of element.querySelectorAll('button')) button.tabIndex = isCurrent ? 0 : -1;
}

/* The part of a message that stays when the whole is no longer kept: so much as an entry shows at first. */
export function beginning(data) {
  if (typeof data !== 'string') return data.slice(0, BYTES.short);
  // By way of bytes: the engine's slice of a string keeps all of it.
  return new TextDecoder().decode(new TextEncoder().encode(data.slice(0, CHARACTERS.short)));
}

/* Whether an entry has this text, in its first 10,000 characters or 1,000 bytes. */
export function holds({ data }, wanted) {
  if (typeof data === 'string') return data.slice(0, 10_000).toLowerCase().includes(wanted);
  return hex(data.subarray(0, 1000)).includes(wanted);
}

function isLong({ data, isCut }) {
  if (isCut) return false;
  if (typeof data !== 'string') return data.length > BYTES.short;
  return data.length > CHARACTERS.short;
}

function showBody(element, isWhole) {
  const { kind, data, size: length, isCut } = element.entry;
  const body = element.querySelector('.body');
  body.classList.toggle('nothing', length === 0);
  body.classList.toggle('dump', isWhole && kind === 'binary');
  const limit = (limits) => (isWhole ? limits.long : limits.short);
  let text = 'empty';
  if (length > 0) {
    if (kind === 'text') text = readable(data, limit(CHARACTERS));
    else text = isWhole ? hexDump(data, BYTES.long) : hexLine(data, BYTES.short);
  }
  body.textContent = isCut ? `${text} … the rest of ${number(length)} bytes is no longer kept` : text;
}

async function write(text) {
  // Browsers have it in secure contexts only: https, and this machine.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const focused = document.activeElement;
  const field = document.createElement('textarea');
  field.className = 'unseen';
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand('copy');
  field.remove();
  focused?.focus();
  if (!isDone) throw new Error('refused');
}
