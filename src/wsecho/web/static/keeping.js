/* The console's connection, which can keep its place on a channel: connection.js, or envelope.js behind the same face.
 *
 *   const connection = new KeepingConnection({ changed, received, closed, note, interrupted });
 *   connection.open(address, subprotocols);   // as connection.js does
 *   connection.keep(address);                 // speaks wsecho.v1.json, and connects again when it is interrupted
 *
 * `received(data, about)` is told who sent a message and its offset. `note(text)` gets one line for each thing
 * that the channel tells. `interrupted({ code, reason, seconds })` is told of a loss after which it tries again.
 *
 * Rules: the first attempt that fails ends it, as a plain connection ends. The place on the last channel stays,
 * so that its reader goes on there after a Disconnect, too. It must not know the page.
 */

import { Connection } from './connection.js';
import { EnvelopeClient, SUBPROTOCOL, Unsure } from './envelope.js';
import { lengthOf, number } from './format.js';

// Bytes for the envelope of a message. A run has 64 KiB under way, so no more than the 256 messages that the
// server takes without an answer.
const ENVELOPE = 256;

export class KeepingConnection extends Connection {
  constructor({ note, interrupted, ...others }) {
    super(others);
    Object.assign(this, { note, interrupted });
    this.client = null;
    this.place = null; // { address, position } of the last channel
    this.unacknowledged = 0; // bytes
  }

  // What is not acknowledged is kept, to be sent again.
  get bufferedAmount() {
    return super.bufferedAmount + this.unacknowledged;
  }

  keep(address) {
    const dialled = (socket) => this.dialled(socket);
    const client = new EnvelopeClient(address, {
      position: this.place?.address === address ? this.place.position : null,
      WebSocket: function Dialled(url, subprotocol) {
        return dialled(new WebSocket(url, subprotocol));
      },
    });
    // An abandoned socket lives on for a while.
    const on = (name, handler) => client.addEventListener(name, ({ detail }) => {
      if (this.client === client) handler(detail);
    });
    on('welcome', (welcome) => this.welcomed(welcome));
    on('message', ({ content, sender, position }) => this.received(content, aboutOf(sender, position)));
    on('gap', ({ after, missing }) => this.note(gapLine(after, missing)));
    on('presence', ({ count }) => this.note(`On the channel: ${number(count)}`));
    on('dropped', ({ count }) => this.note(`Dropped by the server, for this page reads too slowly: ${number(count)}`));
    on('engine', ({ state }) => this.note(`The server’s engine is ${state}`));
    on('disconnected', (loss) => this.lost(loss));
    this.client = client;
    this.address = address;
    this.subprotocols = [SUBPROTOCOL];
    this.wasOpen = false;
    client.start();
    this.become('connecting');
  }

  send(data) {
    if (this.client === null) {
      super.send(data);
      return;
    }
    if (this.state !== 'open') throw new Error('Not connected.');
    const size = lengthOf(data) + ENVELOPE;
    this.unacknowledged += size;
    this.client.publish(data).then(
      (position) => this.note(position ? `Acknowledged: ${placeOf(position)}` : 'Acknowledged'),
      (error) => {
        this.note(`${error instanceof Unsure ? 'Perhaps not published' : 'Not published'}: ${error.message}`);
      },
    ).finally(() => {
      this.unacknowledged -= size;
    });
  }

  close(code, reason) {
    if (this.client === null || this.state === 'closing') {
      super.close(code, reason);
    } else if (this.state === 'open') {
      // Before stop(), which has a code of its own.
      super.close(code, reason);
      this.client.stop();
    } else {
      this.client.stop();
      this.finish('cancelled', { code: 1006, reason: '', wasClean: false });
    }
  }

  finish(how, event) {
    if (this.client !== null) this.place = { address: this.address, position: this.client.position };
    this.client = null;
    super.finish(how, event);
  }

  dialled(socket) {
    const begin = performance.now();
    this.socket = socket;
    socket.addEventListener('open', () => {
      this.openedIn = performance.now() - begin;
    });
    // The client tells of every other end.
    socket.addEventListener('close', (event) => {
      if (this.socket === socket && this.state === 'closing') this.finish('closed', event);
    });
    return socket;
  }

  welcomed({ id, position, recovered, presence }) {
    this.wasOpen = true;
    this.become('open');
    const place = position ? `at ${placeOf(position)}` : 'on a channel that keeps no history';
    this.note(`Welcome as ${id}, ${place}; on the channel: ${number(presence)}`);
    if (recovered === true) this.note('Recovered: nothing is missing since the last connection');
    if (recovered === false) this.note('Not recovered: the place of the last connection is gone');
  }

  lost({ code, reason, seconds }) {
    this.socket = null;
    if (!this.wasOpen) {
      this.client.stop();
      this.finish('failed', { code, reason, wasClean: false });
      return;
    }
    this.interrupted({ code, reason, seconds });
    this.become('connecting');
  }
}

function placeOf({ epoch, offset }) {
  return `offset ${offset}, epoch ${epoch}`;
}

function aboutOf(sender, position) {
  return [sender && `from ${sender}`, position && `offset ${position.offset}`].filter(Boolean).join(', ');
}

function gapLine(after, missing) {
  const where = after ? ` behind offset ${after.offset}` : '';
  return `Gap: missing${where}: ${missing === null ? 'how many is not known' : number(missing)}`;
}
