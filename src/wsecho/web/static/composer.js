/* What is sent: the forms for one message and for many.
 *
 *   startComposer({ connection, sent, note, changed }).show()
 *
 * `sent(data)` is told of each message that went, `note(text)` of what a run came to, `changed()` when a field was
 * emptied. `show()` shows the fields as they are chosen, after somebody else has set them.
 *
 * Rules: what cannot be sent stays in its field, with one line that says why.
 */

import { byId, chosen, showParts, showProblem, setText } from './dom.js';
import { bytesOfHex, lengthOf, number, rate, readNumber, size } from './format.js';
import { MOST_BYTES, MOST_MESSAGES, Run, generator } from './many.js';

const PROGRESS = 100; // milliseconds between two looks at a run

export function startComposer({ connection, sent, note, changed }) {
  let run = null;

  async function send(event) {
    event.preventDefault();
    const field = byId(chosen('kind'));
    try {
      const data = await messageIn(field);
      // Not before: while a file is read, the connection may end.
      connection.send(data);
      sent(data);
      if (field.type !== 'file') field.value = '';
      changed();
      showProblem('problem', field, '');
    } catch (error) {
      showProblem('problem', field, error.message);
    }
  }

  async function sendMany(event) {
    event.preventDefault();
    if (run) {
      run.stop();
      return;
    }
    let field = null;
    try {
      for (const name of ['count', 'interval', 'from', 'to']) byId(name).setAttribute('aria-invalid', 'false');
      const read = (name, ...rules) => {
        field = byId(name);
        return readNumber(field.value, ...rules);
      };
      const count = read('count', 'Messages', 1, MOST_MESSAGES);
      const interval = byId('pace').value === 'interval' ? read('interval', 'Interval', 1, 60_000) : 0;
      const next = await messages(count, read);
      field = byId('count');
      if (connection.state !== 'open') throw new Error('Not connected.');
      showProblem('run-problem', field, '');
      await carryOut({ next, count, interval });
    } catch (error) {
      showProblem('run-problem', field, error.message);
    }
  }

  async function messages(count, read) {
    const content = byId('content').value;
    if (content === 'message') {
      const data = await messageIn(byId(chosen('kind')));
      return () => data;
    }
    const from = read('from', 'Bytes, from', 0, MOST_BYTES);
    const to = read('to', 'Bytes, to', from, MOST_BYTES);
    return generator({ isText: content === 'text', from, to, sizes: byId('sizes').value, count });
  }

  async function carryOut({ next, count, interval }) {
    let bytes = 0;
    const current = new Run({
      connection,
      next,
      count,
      interval,
      sent(data) {
        bytes += lengthOf(data);
        sent(data);
      },
    });
    run = current;
    setText('start', 'Stop');
    byId('progress').max = count;
    byId('progress').hidden = false;
    const show = () => {
      byId('progress').value = current.messages;
      setText('progress-text', `${number(current.messages)} of ${number(count)}`);
    };
    const looks = setInterval(show, PROGRESS);
    try {
      const { messages: done, seconds, why } = await current.start();
      const pace = seconds > 0 ? `, ${rate(done / seconds)} messages/s` : '';
      const how = { done: 'Sent', stopped: 'Stopped after', closed: 'The connection ended after' }[why];
      note(`${how} ${number(done)} messages, ${size(bytes)}, in ${seconds.toFixed(3)} s${pace}`);
    } finally {
      clearInterval(looks);
      show();
      run = null;
      byId('progress').hidden = true;
      showRun();
    }
  }

  function showKind() {
    const kind = chosen('kind');
    showParts('kind', kind);
    byId('keys').hidden = kind === 'file';
    showProblem('problem', byId(kind), '');
  }

  function showRun() {
    showParts('pace', byId('pace').value);
    showParts('content', byId('content').value === 'message' ? 'message' : 'generated');
    if (run === null) setText('start', `Send ${byId('count').value.trim() || 'many'}`);
  }

  function show() {
    showKind();
    showRun();
  }

  byId('composer').addEventListener('submit', send);
  byId('composer').addEventListener('change', showKind);
  byId('run').addEventListener('submit', sendMany);
  byId('run').addEventListener('input', showRun);
  for (const name of ['text', 'hex']) {
    byId(name).addEventListener('keydown', (event) => {
      // An Enter that ends the composition of a character (Chinese, Japanese, Korean) belongs to the input method.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId('composer').requestSubmit();
    });
  }
  return { show };
}

async function messageIn(field) {
  if (field.id === 'text') return field.value;
  return field.id === 'hex' ? bytesOfHex(field.value) : bytesOfFile(field.files[0]);
}

async function bytesOfFile(file) {
  if (!file) throw new Error('Choose a file first.');
  try {
    return new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Error('This file cannot be read.');
  }
}
