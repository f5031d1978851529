/* The two conversations of the load: what is sent, and what must come back. Part of load.c, which alone includes it. */

/* ---- echo ----------------------------------------------------------------------------------------------- */

static void prepare_echo(struct connection *c) {
    const size_t most = 1 << 19;
    size_t frame = option.size + LONGEST_HEADER;
    /* More places than messages in flight: then a loss of a whole ring cannot look like none. */
    size_t places = (size_t)option.window + 1;
    while (places < 8 && (places + 1) * frame <= most) places++;
    uint8_t *payload = reserve(option.size);
    char name[40];
    c->places = places;
    c->ring = reserve(places * frame);
    c->expected = reserve(places * frame);
    c->ends = reserve(places * sizeof *c->ends);
    c->sent_at = reserve((size_t)option.window * sizeof *c->sent_at);
    for (size_t place = 0; place < places; place++) {
        fill_text(payload, option.size, (uint64_t)c->number << 20 | place);
        int length = snprintf(name, sizeof name, "%d.%zu:", c->number, place);
        memcpy(payload, name, option.size < (size_t)length ? option.size : (size_t)length);
        c->ring_length += put_masked(c->ring + c->ring_length, 0x81, payload, option.size);
        c->ends[place] = c->ring_length;
        c->expected_length += put_header(c->expected + c->expected_length, 0x81, option.size, false);
        memcpy(c->expected + c->expected_length, payload, option.size);
        c->expected_length += option.size;
    }
    free(payload);
}

static void send_more(struct connection *c, uint64_t time) {
    /* A pong that waits goes first; otherwise a connection that is never idle would never send it. */
    if (finishing || c->queue_length) return;
    while (c->in_flight < (unsigned)option.window && !(option.messages && begun == option.messages)) {
        size_t start = c->next_place ? c->ends[c->next_place - 1] : 0;
        c->due += c->ends[c->next_place] - start;
        c->next_place = (c->next_place + 1) % c->places;
        c->sent_at[c->sent_head] = time;
        c->sent_head = (c->sent_head + 1) % (unsigned)option.window;
        c->in_flight++;
        begun++;
    }
}

static void echo_arrived(struct connection *c, uint64_t time) {
    if (!c->in_flight) fail("connection %d: more messages came back than were sent", c->number);
    if (measuring) {
        note_latency(time - c->sent_at[c->sent_tail]);
        measured++;
    }
    c->sent_tail = (c->sent_tail + 1) % (unsigned)option.window;
    c->in_flight--;
    arrived++;
}

static void verify_echo(struct connection *c, const uint8_t *bytes, size_t length, uint64_t time) {
    const size_t frame = c->expected_length / c->places;
    while (length) {
        size_t into = c->expected_at % frame, same = c->expected_length - c->expected_at;
        if (c->control_length) {
            size_t used = take_control(c, bytes, length);
            bytes += used;
            length -= used;
            continue;
        }
        if (same > length) same = length;
        if (memcmp(bytes, c->expected + c->expected_at, same)) {
            size_t right = 0;
            while (bytes[right] == c->expected[c->expected_at + right]) right++;
            /* Only between two frames may something else stand, and only a control frame. */
            if ((into + right) % frame || !(bytes[right] & 8))
                fail("connection %d: byte %zu of the frame is 0x%02x instead of 0x%02x: a message was lost, changed, "
                     "doubled, out of order or not this connection's",
                     c->number, (into + right) % frame, bytes[right], c->expected[c->expected_at + right]);
            same = right;
            if (!same) {
                size_t used = take_control(c, bytes, length);
                bytes += used;
                length -= used;
                continue;
            }
        }
        for (size_t whole = (into + same) / frame; whole; whole--) echo_arrived(c, time);
        c->expected_at = (c->expected_at + same) % c->expected_length;
        bytes += same;
        length -= same;
    }
}

/* ---- broadcast: 16 digits of a number, and a filler that is always the same ------------------------------ */

static uint8_t *publication, *publication_header;
static size_t publication_length, publication_header_length;
static uint64_t published, reached, *published_at;
static unsigned *receivers_reached;

static void prepare_broadcast(void) {
    size_t places = (size_t)option.window + 1;
    publication = reserve(option.size);
    publication_header = reserve(LONGEST_HEADER);
    fill_text(publication, option.size, 1);
    publication_header_length = put_header(publication_header, 0x81, option.size, false);
    publication_length = publication_header_length + option.size;
    published_at = reserve(places * sizeof *published_at);
    receivers_reached = reserve(places * sizeof *receivers_reached);
}

static void publish(struct connection *c, uint64_t time) {
    while (published - reached < (uint64_t)option.window && !(option.messages && published == option.messages)) {
        published_at[published % ((uint64_t)option.window + 1)] = time;
        put_number(publication, published++);
        queue_frame(c, 0x81, publication, option.size);
    }
    if (!c->waits_to_write) flush(c);
}

static void publication_arrived(struct connection *c, const uint8_t *frame, uint64_t time) {
    uint8_t number[16];
    put_number(number, c->next);
    const uint8_t *payload = frame + publication_header_length;
    if (memcmp(frame, publication_header, publication_header_length))
        fail("receiver %d: the frame is not what was published", c->number);
    if (memcmp(payload, number, sizeof number))
        fail("receiver %d: message %.16s instead of %.16s: lost, changed, doubled or out of order", c->number,
             (const char *)payload, (const char *)number);
    if (memcmp(payload + sizeof number, publication + sizeof number, option.size - sizeof number))
        fail("receiver %d: message %.16s was changed", c->number, (const char *)number);
    if (c->next >= published) fail("receiver %d: a message that nobody sent", c->number);
    size_t place = c->next++ % ((size_t)option.window + 1);
    if (measuring) {
        note_latency(time - published_at[place]);
        measured++;
    }
    arrived++;
    if (++receivers_reached[place] == (unsigned)option.connections) {
        receivers_reached[place] = 0;
        reached++;
    }
}

/* Returns the number of bytes at the end that belong to a frame that has not come whole. */
static size_t verify_broadcast(struct connection *c, const uint8_t *bytes, size_t length, uint64_t time) {
    while (length) {
        if (c->control_length || bytes[0] & 8) {
            size_t used = take_control(c, bytes, length);
            bytes += used;
            length -= used;
            continue;
        }
        if (c == connections) fail("the publisher got a message");
        if (length < publication_length) break;
        publication_arrived(c, bytes, time);
        bytes += publication_length;
        length -= publication_length;
    }
    return length;
}
