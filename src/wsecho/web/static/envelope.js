/* A client of a channel that keeps its place: wsecho.v1.json, for browsers and whatever else has WebSocket.
 *
 * The documentation of wsecho tells how it is used (how-to: channels that keep their place).
 *
 * Rules: it connects, and connects again, until it is stopped. What it hands out it hands out once, in the order
 * of the channel; where something is missing it says so, by the offsets, whatever the server says. A message that
 * it was given to publish is published, or its promise is rejected; until one of both is known it is sent again,
 * with the same id, on each new connection. Where the channel keeps no history, the server cannot recognize the
 * id: there it is not sent twice, and the promise is rejected with Unsure.
 *
 * Reconnecting waits twice as long with each failure, half of that at random, so that those who lost the same
 * server do not come back together. It touches no document and stores nothing.
 *
 * Events, each with its `detail`:
 *   welcome       { id, position, recovered, presence }: connected, for the first time or again
 *   message       { content, sender, position }: content is a string or a Uint8Array
 *   gap           { after, missing }: messages are missing; null for what is not known. Comes before what is
 *                 behind the gap
 *   presence      { count }
 *   dropped       { count }: by the server, because this client did not read fast enough
 *   engine        { state }: 'away' or 'up'
 *   disconnected  { code, reason, seconds }: the next attempt is in so many seconds
 * A position is { epoch, offset }, or null on a channel that keeps no history.
 */

export const SUBPROTOCOL = 'wsecho.v1.json';

const MOST_PENDING = 10000;
const OWN_NAMES = 64;
const RETRIED = new Set(['engine-away', 'engine-failed']);

// What a server takes back in a URL: a client that named anything else could not come back.
const EPOCH = /^[A-Za-z0-9_-]{1,64}$/;
const isOffset = (value) => Number.isInteger(value) && value >= 0 && value < 1e15;

/** A message was not published; `code` is of the server's error, or empty. */
export class NotPublished extends Error {
  constructor(code, line) {
    super(line);
    this.name = this.constructor.name;
    this.code = code;
  }
}

/** Nobody knows whether a message was published, and to send it again could publish it twice. */
export class Unsure extends NotPublished {}

function toBase64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function newId() {
  // crypto.randomUUID is there in secure contexts only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function positionOf(envelope) {
  const { epoch, offset } = envelope;
  if (epoch === null || offset === null) return null;
  if (typeof epoch !== 'string' || !EPOCH.test(epoch) || !isOffset(offset)) throw new TypeError('no position');
  return { epoch, offset };
}

export class EnvelopeClient extends EventTarget {
  #url;
  #options;
  #pending = new Map();
  #ownNames = [];
  #socket = null;
  #isWelcome = false;
  #isRunning = false;
  #hasHistory = false;
  #takesAny = false;
  #failures = 0;
  #retries = 0;
  #welcomeAt = 0;
  #again = null;
  #retry = null;
  #quiet = null;
  #isAsked = false;
  #position;

  /**
   * @param url of the channel, with ws or wss and the path /broadcast/NAME
   * @param options position: where to begin, as `position` of an earlier client said; withOwn: whether its own
   *   messages are handed out as well; firstWait, longestWait: milliseconds before connecting again; quietAfter:
   *   milliseconds after which the server is asked whether it is there, since a browser does not see that its
   *   network has gone; random, makeId and WebSocket: for tests
   */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = {
      withOwn: false,
      firstWait: 500,
      longestWait: 30000,
      quietAfter: 20000,
      random: Math.random,
      makeId: newId,
      WebSocket: globalThis.WebSocket,
      ...options,
    };
    this.#position = options.position ?? null;
  }

  /** The place of the last message that was handed out, or skipped as one's own; null when there is none. */
  get position() {
    return this.#position;
  }

  /** Whether it is connected, and the server has said welcome. */
  get isOpen() {
    return this.#isWelcome;
  }

  /** How many messages are not acknowledged yet. */
  get pending() {
    return this.#pending.size;
  }

  /** Connect, and stay connected. */
  start() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#dial();
  }

  /** Close the connection and make no other; what is not acknowledged is rejected. */
  stop() {
    this.#isRunning = false;
    clearTimeout(this.#again);
    this.#again = null;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const one of pending) {
      one.reject(new (one.wasSent ? Unsure : NotPublished)('', 'the client was stopped'));
    }
    if (this.#socket !== null) this.#socket.close(1000);
  }

  /**
   * Publish a message, now or when there is a connection.
   * @param message a string, an ArrayBuffer or a view of one
   * @returns a promise of its position, once the server has it; rejected with NotPublished, or Unsure
   */
  publish(message) {
    const said = {};
    if (typeof message === 'string') said.text = message;
    else if (message instanceof ArrayBuffer) said.binary = toBase64(new Uint8Array(message));
    else if (ArrayBuffer.isView(message)) {
      said.binary = toBase64(new Uint8Array(message.buffer, message.byteOffset, message.byteLength));
    } else throw new TypeError('a message is a string, an ArrayBuffer or a view of one');
    if (this.#pending.size >= MOST_PENDING) {
      return Promise.reject(new NotPublished('', `${MOST_PENDING} messages wait already`));
    }
    const id = this.#options.makeId();
    return new Promise((resolve, reject) => {
      const one = { id, envelope: JSON.stringify({ type: 'publish', id, ...said }), resolve, reject, wasSent: false };
      this.#pending.set(id, one);
      if (this.#isWelcome) this.#send(one);
    });
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /* --- Connecting --------------------------------------------------------------------------------------- */

  #dial() {
    this.#again = null;
    let url = this.#url;
    if (this.#position !== null) {
      const { epoch, offset } = this.#position;
      url += `${url.includes('?') ? '&' : '?'}epoch=${encodeURIComponent(epoch)}&since=${offset}`;
    }
    const socket = new this.#options.WebSocket(url, SUBPROTOCOL);
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      if (this.#socket === socket) this.#read(data);
    });
    socket.addEventListener('close', ({ code, reason }) => {
      if (this.#socket === socket) this.#lost(code, reason);
    });
  }

  #lost(code, reason) {
    this.#socket = null;
    if (this.#isWelcome && performance.now() - this.#welcomeAt >= this.#options.longestWait) this.#failures = 0;
    this.#isWelcome = false;
    clearTimeout(this.#retry);
    this.#retry = null;
    clearInterval(this.#quiet);
    if (!this.#isRunning) return;
    this.#failures += 1;
    const wait = this.#wait(this.#failures);
    this.#again = setTimeout(() => this.#dial(), wait);
    this.#tell('disconnected', { code, reason, seconds: wait / 1000 });
  }

  #wait(failures) {
    const { firstWait, longestWait, random } = this.#options;
    return Math.min(longestWait, firstWait * 2 ** (failures - 1)) * (0.5 + random() / 2);
  }

  #read(data) {
    this.#isAsked = false;
    try {
      const envelope = JSON.parse(data);
      if (typeof envelope?.type !== 'string') throw new TypeError('no envelope');
      if (this.#isWelcome || envelope.type === 'welcome') this.#take(envelope);
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException)) throw error;
      // 1007 is not a browser's to send.
      this.#socket?.close(4007, 'no envelope of wsecho.v1.json');
    }
  }

  #askWhenQuiet() {
    if (this.#isAsked) {
      // close() would wait for an answer that does not come; nothing of this socket is heard any more.
      const socket = this.#socket;
      this.#lost(1006, 'the server is silent');
      socket.close();
      return;
    }
    this.#isAsked = true;
    this.#socket.send('{"type":"ping"}');
  }

  /* --- Envelopes ---------------------------------------------------------------------------------------- */

  #take(envelope) {
    switch (envelope.type) {
      case 'welcome':
        this.#takeWelcome(envelope);
        break;
      case 'message':
        this.#takeMessage(envelope);
        break;
      case 'gap':
        // With an offset, the next message tells the same. Without one the old place stands until then, so that
        // another connection asks for what is behind it.
        if (positionOf(envelope) === null) {
          this.#takesAny = true;
          this.#tell('gap', { after: this.#position, missing: null });
        }
        break;
      case 'join':
      case 'leave':
      case 'presence':
        this.#tell('presence', { count: envelope.count });
        break;
      case 'dropped':
        this.#tell('dropped', { count: envelope.count });
        break;
      case 'engine':
        this.#tell('engine', { state: envelope.state });
        break;
      case 'ack':
        this.#retries = 0;
        this.#settle(envelope.id)?.resolve(positionOf(envelope));
        break;
      case 'error':
        this.#takeError(envelope);
        break;
      default: // of a later server
    }
  }

  #takeWelcome(envelope) {
    const before = this.#position;
    const position = positionOf(envelope);
    const { id, recovered, presence } = envelope;
    this.#ownNames = [...this.#ownNames, id].slice(-OWN_NAMES);
    this.#hasHistory = position !== null;
    this.#takesAny = false;
    this.#isWelcome = true;
    this.#isAsked = false;
    this.#welcomeAt = performance.now();
    this.#quiet = setInterval(() => this.#askWhenQuiet(), this.#options.quietAfter);
    if (position !== null) this.#position = position;
    this.#tell('welcome', { id, position, recovered, presence });
    if (recovered === false) {
      const isSame = before !== null && position !== null && before.epoch === position.epoch;
      const missing = isSame ? Math.max(0, position.offset - before.offset) || null : null;
      this.#tell('gap', { after: before, missing });
    }
    this.#sendPending();
  }

  #takeMessage(envelope) {
    const { text, binary, sender } = envelope;
    if (typeof (text ?? binary) !== 'string') throw new TypeError('no message');
    const content = text ?? fromBase64(binary);
    const position = positionOf(envelope);
    if (position !== null && !this.#isNext(position)) return;
    if (this.#options.withOwn || !this.#ownNames.includes(sender)) {
      this.#tell('message', { content, sender, position });
    }
  }

  #isNext(position) {
    const last = this.#position;
    if (last !== null && !this.#takesAny) {
      if (position.epoch !== last.epoch) this.#tell('gap', { after: last, missing: null });
      else if (position.offset <= last.offset) return false;
      else if (position.offset > last.offset + 1) {
        this.#tell('gap', { after: last, missing: position.offset - last.offset - 1 });
      }
    }
    this.#takesAny = false;
    this.#position = position;
    return true;
  }

  #takeError({ id, code, line }) {
    if (!this.#pending.has(id)) return;
    if (!RETRIED.has(code)) this.#settle(id).reject(new NotPublished(code, line));
    else if (!this.#hasHistory) this.#settle(id).reject(new Unsure(code, line));
    else if (this.#retry === null) {
      this.#retries += 1;
      this.#retry = setTimeout(() => this.#sendPending(), this.#wait(this.#retries));
    }
  }

  /* --- Publishing --------------------------------------------------------------------------------------- */

  #settle(id) {
    const one = this.#pending.get(id);
    this.#pending.delete(id);
    return one;
  }

  #sendPending() {
    clearTimeout(this.#retry);
    this.#retry = null;
    for (const one of [...this.#pending.values()]) {
      if (one.wasSent && !this.#hasHistory) {
        this.#settle(one.id).reject(new Unsure('', 'the connection was lost before the acknowledgement'));
      } else if (this.#isWelcome) this.#send(one);
    }
  }

  #send(one) {
    one.wasSent = true;
    this.#socket.send(one.envelope);
  }
}
