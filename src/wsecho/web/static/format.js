/* How bytes, texts, numbers and times look, and how typed ones are read.
 *
 * Rules: pure functions. Text of a peer becomes readable text without characters that hide or reorder it; that
 * it is put into the page as text, and no markup, is up to the caller. What is shown of a message is bounded.
 * What cannot be read throws an Error with one line for the user.
 */

// Controls, and format characters that turn the reading direction round or draw nothing. Line end and tab are
// shown as what they are; the two joiners belong to the spelling of several scripts and of emoji.
const HIDDEN = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const PAIRS = 'Bytes are pairs of them, such as 00 ff 7f.';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const precise = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3,
});
const encoder = new TextEncoder();

export const number = (value) => whole.format(value);
export const timeOfDay = (date) => clock.format(date);

export function milliseconds(value) {
  return value < 1000 ? `${precise.format(value)} ms` : `${precise.format(value / 1000)} s`;
}

export function rate(value) {
  return value < 10 ? precise.format(value) : whole.format(value);
}

export function size(bytes) {
  if (bytes < 10_000) return `${whole.format(bytes)} B`;
  return bytes < 1024 ** 2 ? `${precise.format(bytes / 1024)} KiB` : `${precise.format(bytes / 1024 ** 2)} MiB`;
}

/* Bytes of a message on the wire. */
export function lengthOf(data) {
  return typeof data === 'string' ? encoder.encode(data).length : data.length;
}

export function readable(text, limit) {
  // Cut first: a message of many megabytes must not be searched for the sake of its first lines.
  const shown = text.slice(0, limit).replace(HIDDEN, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
  const rest = text.length - limit;
  return rest > 0 ? `${shown} … ${whole.format(rest)} more characters` : shown;
}

export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

export function hexLine(bytes, limit) {
  const rest = bytes.length - limit;
  const shown = hex(bytes.subarray(0, limit));
  return rest > 0 ? `${shown} … ${whole.format(rest)} more bytes` : shown;
}

/* Sixteen bytes a line: where they are, what they are, and which characters they would be in ASCII. */
export function hexDump(bytes, limit) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, limit); at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, limit));
    const letters = Array.from(row, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex(row).padEnd(47)}  ${letters}`);
  }
  if (bytes.length > limit) lines.push(`… ${whole.format(bytes.length - limit)} more bytes`);
  return lines.join('\n');
}

export function bytesOfHex(text) {
  const wrong = /[^0-9a-f\s]/iu.exec(text);
  if (wrong) {
    const line = text.slice(0, wrong.index).split('\n');
    const where = `line ${line.length}, place ${line.at(-1).length + 1}`;
    throw new Error(`${where}: “${readable(wrong[0], 2)}” is no hexadecimal digit. ${PAIRS}`);
  }
  const digits = text.replace(/\s+/g, '');
  if (digits.length % 2) {
    throw new Error(`${number(digits.length)} digits: the last has no partner. ${PAIRS}`);
  }
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/* A whole number within bounds; as people write it, with commas or without. */
export function readNumber(text, name, least, most) {
  const value = Number(text.trim().replace(/(?<=\d),(?=\d{3}\b)/g, ''));
  if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) {
    throw new Error(`${name}: a whole number from ${number(least)} to ${number(most)}.`);
  }
  return value;
}
