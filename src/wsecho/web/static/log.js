/* The log: what was sent and received, and notes about the connection, newest last.
 *
 * Rules: whatever arrives, what is held and what is shown is bounded: so many entries, so many bytes of their
 * messages, so many rows. Nothing is done for a message when it comes but to note it down. Rows are made once for
 * each picture of the browser, and under load less often, so that at most a fifth of the time goes into them.
 * Somebody who has scrolled back to read is not thrown to the end. The log is a live region while messages come
 * one by one, and silent when they pour.
 */

import { byId, setText } from './dom.js';
import { beginning, copy, elementOf, holds, setCurrent, toggleMore } from './entry.js';
import { lengthOf, number } from './format.js';

const KEPT = 5000; // entries that a filter can bring back
const SHOWN = 500; // rows
const KEPT_BYTES = 32 * 1024 ** 2; // of the messages of all entries
const REST = 4; // so many times what the rows took, until the next ones
const LAG = 25; // milliseconds: an echo that is near comes before the browser is busy with rows, and is measured right
const READ_OUT = 5; // entries in a second that a screen reader can tell

export class Log {
  constructor() {
    this.box = byId('log');
    this.rows = byId('entries');
    this.isScheduled = false;
    this.restsUntil = 0;
    this.isPaused = false;
    this.isFollowing = true;
    this.lastTop = 0;
    this.filter = { show: 'all', wanted: '' };
    this.secondBegan = 0;
    this.rowsInSecond = 0;
    this.clear();
    this.listen();
  }

  /* --- What comes --- */

  note(text) {
    this.add({ direction: 'note', kind: '', size: 0, data: text });
  }

  /* Returns the length of the message in bytes. `about` is what else is known of it, in words. */
  message(direction, data, about = '') {
    this[direction] += 1;
    const size = lengthOf(data);
    this.add({ direction, kind: typeof data === 'string' ? 'text' : 'binary', size, data, about });
    return size;
  }

  add(entry) {
    entry.time = Date.now();
    entry.isCut = false;
    this.ring[this.total % KEPT] = entry;
    this.total += 1;
    this.keptBytes += entry.size;
    this.wholeFrom = Math.max(this.wholeFrom, this.total - KEPT);
    while (this.keptBytes > KEPT_BYTES && this.wholeFrom < this.total - 1) this.cutOldest();
    this.schedule();
  }

  cutOldest() {
    const oldest = this.ring[this.wholeFrom % KEPT];
    this.wholeFrom += 1;
    const kept = oldest.direction === 'note' ? oldest.data : beginning(oldest.data);
    if (kept.length === oldest.data.length) return;
    Object.assign(oldest, { data: kept, isCut: true });
    this.keptBytes -= oldest.size;
  }

  clear() {
    this.ring = new Array(KEPT);
    Object.assign(this, { total: 0, drawn: 0, sent: 0, received: 0, wholeFrom: 0, keptBytes: 0, current: null });
    this.rows.replaceChildren();
    this.showCounts();
  }

  /* --- What is shown --- */

  schedule() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    const draw = () => requestAnimationFrame(() => {
      this.isScheduled = false;
      this.draw();
    });
    setTimeout(draw, Math.max(LAG, this.restsUntil - performance.now()));
  }

  draw() {
    const begin = performance.now();
    if (!this.isPaused) {
      const fresh = this.matching(this.drawn, SHOWN);
      this.drawn = this.total;
      this.regulateVoice(begin, fresh.length);
      this.trim(fresh.length);
      this.rows.append(...fresh.map(elementOf));
    }
    this.showCounts();
    this.follow();
    // Again in the next picture: rows that come into sight get their true height.
    requestAnimationFrame(() => this.follow());
    const end = performance.now();
    this.restsUntil = end + REST * (end - begin);
  }

  // Entries from a number on that pass the filter, the last `most` of them.
  matching(from, most) {
    const found = [];
    for (let at = this.total - 1; at >= Math.max(from, this.total - KEPT, 0) && found.length < most; at -= 1) {
      const entry = this.ring[at % KEPT];
      if (this.passes(entry)) found.push(entry);
    }
    return found.reverse();
  }

  passes(entry) {
    const { show, wanted } = this.filter;
    if (show !== 'all' && show !== entry.direction && show !== entry.kind) return false;
    return wanted === '' || holds(entry, wanted);
  }

  trim(fresh) {
    const excess = this.rows.childElementCount + fresh - SHOWN;
    if (excess <= 0) return;
    const hadFocus = this.rows.contains(document.activeElement);
    if (excess >= this.rows.childElementCount) this.rows.replaceChildren();
    else for (let i = 0; i < excess; i += 1) this.rows.firstElementChild.remove();
    if (this.current && !this.current.isConnected) {
      this.current = null;
      // Else the next Tab would begin at the top of the page.
      if (hadFocus) this.box.focus({ preventScroll: true });
    }
  }

  regulateVoice(now, rows) {
    if (now - this.secondBegan > 1000) [this.secondBegan, this.rowsInSecond] = [now, 0];
    this.rowsInSecond += rows;
    const voice = this.rowsInSecond > READ_OUT ? 'off' : 'polite';
    if (this.box.getAttribute('aria-live') !== voice) this.box.setAttribute('aria-live', voice);
  }

  showCounts() {
    const shown = this.rows.childElementCount;
    const isFiltered = this.filter.show !== 'all' || this.filter.wanted !== '';
    setText('sent', number(this.sent));
    setText('received', number(this.received));
    byId('empty').hidden = this.total > 0;
    let line = '';
    if (this.total === 0) line = '';
    else if (isFiltered) line = `Showing ${number(shown)} of the last ${number(Math.min(this.drawn, KEPT))} entries`;
    else if (this.drawn > shown) line = `Older entries are no longer shown: ${number(this.drawn - shown)}`;
    setText('dropped', line);
    setText('pause', this.isPaused ? `Resume (${number(this.total - this.drawn)} new)` : 'Pause');
  }

  // A move upwards is a reader's: while the log follows, the browser makes none of its own (overflow-anchor), and
  // rows that get their true height move the end downwards. Elsewhere the browser keeps in place what is read.
  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    if (scrollHeight - scrollTop - clientHeight < 24) this.isFollowing = true;
    else if (scrollTop < this.lastTop) this.isFollowing = false;
    this.lastTop = scrollTop;
    this.box.classList.toggle('following', this.isFollowing);
  }

  refilter() {
    this.filter = { show: byId('show').value, wanted: byId('search').value.toLowerCase() };
    this.rows.replaceChildren();
    this.current = null;
    this.drawn = Math.max(0, this.total - KEPT);
    this.box.setAttribute('aria-live', 'off');
    const entries = this.matching(this.drawn, SHOWN);
    this.rows.append(...entries.map(elementOf));
    this.drawn = this.total;
    this.showCounts();
    this.isFollowing = true;
    this.follow();
  }

  // To the end, unless somebody has scrolled away from it. It makes the browser lay out the rows, whose time counts.
  follow() {
    if (!this.isFollowing) return;
    this.box.scrollTop = this.box.scrollHeight;
    this.lastTop = this.box.scrollTop;
  }

  /* --- What its reader does --- */

  listen() {
    byId('clear').addEventListener('click', () => this.clear());
    byId('show').addEventListener('change', () => this.refilter());
    byId('search').addEventListener('input', () => this.refilter());
    byId('pause').addEventListener('click', () => {
      this.isPaused = !this.isPaused;
      byId('pause').setAttribute('aria-pressed', String(this.isPaused));
      this.draw();
    });
    this.rows.addEventListener('focusin', ({ target }) => this.makeCurrent(target.closest('.entry')));
    this.rows.addEventListener('click', ({ target }) => this.press(target));
    this.box.addEventListener('keydown', (event) => this.move(event));
    this.box.addEventListener('scroll', () => this.scrolled(), { passive: true });
    const sizes = new ResizeObserver(() => this.follow());
    sizes.observe(this.box);
    sizes.observe(this.rows);
  }

  makeCurrent(element) {
    if (element === this.current) return;
    if (this.current) setCurrent(this.current, false);
    this.current = element;
    setCurrent(element, true);
  }

  async press(target) {
    const element = target.closest('.entry');
    if (target.classList.contains('more')) toggleMore(element);
    if (!target.classList.contains('copy')) return;
    const outcome = await copy(element);
    setText('copied', '');
    setText('copied', outcome);
    target.textContent = outcome.startsWith('Copied') ? 'Copied' : 'Not copied';
    setTimeout(() => {
      target.textContent = 'Copy';
    }, 1500);
  }

  move(event) {
    const entry = event.target.closest('.entry');
    const next = {
      ArrowUp: entry ? entry.previousElementSibling : this.rows.lastElementChild,
      ArrowDown: entry ? entry.nextElementSibling : this.rows.firstElementChild,
      Home: this.rows.firstElementChild,
      End: this.rows.lastElementChild,
      Escape: entry && this.box,
    }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey || !next) return;
    event.preventDefault();
    next.focus();
  }
}
