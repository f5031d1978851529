/* How connections ended, and why others did not open: two small tables, the most frequent first. */

import { byId } from './dom.js';
import { number } from './format.js';

export function showEnds({ ends, handshakes }) {
  show('ends', ends.map(({ reason, count }) => [reason, count]), 'none yet');
  const refused = handshakes.filter(({ outcome }) => outcome !== 'opened');
  byId('refused-table').hidden = refused.length === 0;
  show('refused', refused.map(({ outcome, status, count }) => [status === null ? outcome : `${outcome}, ${status}`, count]));
}

function show(id, counts, nothing = '') {
  const sorted = counts.filter(([, count]) => count > 0).sort((one, other) => other[1] - one[1]);
  const rows = sorted.length || !nothing ? sorted : [[nothing, 0]];
  byId(id).replaceChildren(...rows.map(([name, count]) => {
    const row = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = name;
    const cell = document.createElement('td');
    cell.className = 'number';
    cell.textContent = number(count);
    row.append(head, cell);
    return row;
  }));
}
