/* The processes of a server that has several, each with its connections and how often it was started again. */

import { byId } from './dom.js';
import { number } from './format.js';

export function showWorkers(workers) {
  byId('workers').hidden = workers.length === 0;
  byId('worker-rows').replaceChildren(...workers.map((worker) => {
    const row = document.createElement('tr');
    const name = document.createElement('th');
    name.scope = 'row';
    name.textContent = worker.number;
    name.title = worker.pid === null ? '' : `process ${worker.pid}`;
    const rest = [worker.state, number(worker.connections), number(worker.restarts)].map((text) => {
      const cell = document.createElement('td');
      cell.textContent = text;
      return cell;
    });
    row.append(name, ...rest);
    return row;
  }));
}
