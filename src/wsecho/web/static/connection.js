/* One connection at a time, and what is known about it.
 *
 *   const connection = new Connection({ changed, received, closed });
 *   connection.open(address, subprotocols); connection.send(data); connection.close(code, reason);
 *
 * `changed()` is called whenever `state` did: closed, connecting, open or closing. `received(data)` gets a text
 * or a Uint8Array. `closed({ how, code, reason, wasClean })` tells how it ended: closed, failed (it never
 * opened), cancelled, or abandoned (nobody waited for the peer's Close).
 *
 * It must not know the page.
 */

export class Connection {
  constructor({ changed, received, closed }) {
    Object.assign(this, { changed, received, closed });
    this.socket = null;
    this.state = 'closed';
    this.address = '';
    this.subprotocols = []; // that were offered
    this.openedIn = 0; // milliseconds that the opening handshake took
  }

  get subprotocol() {
    return this.socket?.protocol ?? '';
  }

  get extensions() {
    return this.socket?.extensions ?? '';
  }

  get bufferedAmount() {
    return this.socket?.bufferedAmount ?? 0;
  }

  open(address, subprotocols) {
    const socket = new WebSocket(address, subprotocols);
    const begin = performance.now();
    // An abandoned socket lives on for a while.
    const on = (name, handler) => socket.addEventListener(name, (event) => {
      if (this.socket === socket) handler(event);
    });
    this.socket = socket;
    this.address = address;
    this.subprotocols = subprotocols;
    this.wasOpen = false;
    socket.binaryType = 'arraybuffer';
    on('open', () => {
      this.wasOpen = true;
      this.openedIn = performance.now() - begin;
      this.become('open');
    });
    on('message', ({ data }) => this.received(typeof data === 'string' ? data : new Uint8Array(data)));
    on('close', (event) => {
      const unopened = this.state === 'closing' ? 'cancelled' : 'failed';
      this.finish(this.wasOpen ? 'closed' : unopened, event);
    });
    this.become('connecting');
  }

  send(data) {
    if (this.socket?.readyState !== WebSocket.OPEN) throw new Error('Not connected.');
    this.socket.send(data);
  }

  close(code, reason) {
    if (this.state === 'closing') {
      // A peer that does not answer holds the browser for a minute.
      this.finish('abandoned', { code: 1006, reason: '', wasClean: false });
      return;
    }
    this.socket.close(code, reason);
    this.become('closing');
  }

  finish(how, { code, reason, wasClean }) {
    this.socket = null;
    this.closed({ how, code, reason, wasClean });
    this.become('closed');
  }

  become(state) {
    this.state = state;
    this.changed();
  }
}
