/* The load of the benchmarks: one thread that opens WebSocket connections, sends, and verifies what comes back.
 *
 * Modes, of which one runs:
 *   echo       each connection keeps `--window` messages in flight and expects each of them back, in order
 *   broadcast  one more connection publishes; each of `--connections` receivers expects every message once
 *   connect    opens the connections, `--at-once` handshakes at a time, and ends
 *   hold       opens them, says so, and holds them open (answering pings) until its standard input ends
 *
 * Nothing is taken on trust: every byte of every frame is compared with what it must be. Messages differ by
 * connection and by place in a ring that is longer than the window, so that a message that is lost, changed,
 * doubled, out of order or another connection's is an error, not a figure.
 *
 * The last line of standard output is one JSON object; with "error" in it, nothing else counts. Masking is done
 * before the clock starts: what is measured is the server.
 */
#define _GNU_SOURCE
#include "connection.h"
#include "conversations.h"

/* ---- what the result says of processors ------------------------------------------------------------------ */

static struct load load_now(void) { return load_so_far(option.server, option.server_core, option.client_core); }

static void print_load(struct load before, struct load after, double seconds) {
    printf("\"seconds\": %.6f, \"server_cpu\": %.5f, \"client_cpu\": %.5f, \"server_core\": %.5f, "
           "\"client_core\": %.5f, \"tls\": \"%s\"",
           seconds, (after.server - before.server) / seconds, (after.client - before.client) / seconds,
           (after.server_core - before.server_core) / seconds, (after.client_core - before.client_core) / seconds,
           tls_name);
}

/* ---- a connection that is open -------------------------------------------------------------------------- */

static void verify(struct connection *c, uint8_t *bytes, size_t length, uint64_t time) {
    switch (option.mode) {
    case ECHO:
        verify_echo(c, bytes, length, time);
        send_more(c, time);
        if (c->due && !c->waits_to_write) flush(c);
        break;
    case BROADCAST: {
        size_t left = verify_broadcast(c, bytes, length, time);
        if (left && !c->part) c->part = reserve(publication_length);
        if (left) memcpy(c->part, bytes + length - left, left);
        c->part_length = left;
        break;
    }
    default:
        while (length) {
            if (!c->control_length && !(bytes[0] & 8)) fail("connection %d: a message to nobody", c->number);
            size_t used = take_control(c, bytes, length);
            bytes += used;
            length -= used;
        }
    }
}

static bool more_decrypted(struct connection *c) {
#ifdef WITH_TLS
    return c->tls && SSL_has_pending(c->tls);
#else
    (void)c;
    return false;
#endif
}

static void read_all(struct connection *c) {
    for (int reads = 0; reads < 4 || more_decrypted(c); reads++) {
        size_t kept = c->part_length;
        memcpy(input, c->part, kept);
        ssize_t got = take(c, input + kept, input_room - kept);
        if (got < 0) return;
        if (!got) fail("connection %d: the server ended the connection", c->number);
        c->part_length = 0;
        verify(c, input, kept + (size_t)got, now());
        if ((size_t)got < input_room - kept && !more_decrypted(c)) return;
    }
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    uint8_t nonce[16];
    c->number = (int)(c - connections);
    c->began = now();
    if (!first_asked) first_asked = c->began;
    c->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->descriptor < 0) fail("no socket for connection %d: %s", c->number, strerror(errno));
    setsockopt(c->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->descriptor, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connection %d: %s", c->number, strerror(errno));
    for (size_t i = 0; i < sizeof nonce; i++) nonce[i] = (uint8_t)(some_bits() >> 24);
    base64(nonce, sizeof nonce, c->key);
    c->head = reserve(4096);
    c->waits_to_write = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->descriptor, &event);
    started++;
}

#ifdef WITH_TLS
static SSL *tls_client(int descriptor) {
    static SSL_CTX *context;
    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        /* No session is resumed: each handshake is a full one. */
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, 1 << 16);
    }
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, descriptor);
    SSL_set_connect_state(tls);
    return tls;
}

/* Whether the handshake is done. */
static bool secure(struct connection *c) {
    if (!c->tls) c->tls = tls_client(c->descriptor);
    int done = SSL_do_handshake(c->tls);
    if (done == 1) {
        snprintf(tls_name, sizeof tls_name, "%s %s", SSL_get_version(c->tls), SSL_get_cipher(c->tls));
        return true;
    }
    int error = SSL_get_error(c->tls, done);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail("connection %d: the TLS handshake failed", c->number);
    wait_to_write(c, error == SSL_ERROR_WANT_WRITE);
    return false;
}
#else
static bool secure(struct connection *c) { fail("connection %d: built without TLS", c->number); }
#endif

/* Reads the answer to the request; whether it is there, and as it must be. */
static bool answered(struct connection *c) {
    char accept[ACCEPT_LENGTH + 1], *end, *field;
    do {
        ssize_t got = take(c, c->head + c->head_length, 4095 - c->head_length);
        if (got < 0) return false;
        if (!got) fail("connection %d: ended in the handshake: %.60s", c->number, c->head);
        c->head_length += (size_t)got;
        if (!(end = strstr(c->head, "\r\n\r\n")) && c->head_length >= 4095)
            fail("connection %d: the answer is too long", c->number);
    } while (!end);
    *end = 0;
    accept_for(c->key, accept);
    if (strncmp(c->head, "HTTP/1.1 101 ", 13)) fail("connection %d: refused: %.60s", c->number, c->head);
    if (!(field = strcasestr(c->head, "\r\nSec-WebSocket-Accept:"))) fail("connection %d: no accept", c->number);
    field += strlen("\r\nSec-WebSocket-Accept:");
    while (*field == ' ') field++;
    if (strncmp(field, accept, ACCEPT_LENGTH)) fail("connection %d: the accept is wrong", c->number);
    if (strcasestr(c->head, "\r\nSec-WebSocket-Extensions:"))
        fail("connection %d: an extension that nobody offered", c->number);
    return true;
}

static void go_on_opening(struct connection *c) {
    if (c->stage == CONNECTING) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(c->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error) fail("connection %d: %s", c->number, strerror(error));
        c->stage = option.tls ? SECURING : ASKING;
    }
    if (c->stage == SECURING) {
        if (!secure(c)) return;
        c->stage = ASKING;
    }
    char request[256];
    size_t length = (size_t)snprintf(request, sizeof request,
                                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                                     "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                                     "Sec-WebSocket-Version: 13\r\n\r\n",
                                     option.path, option.port, c->key);
    while (c->asked < length) {
        ssize_t gone = give(c, request + c->asked, length - c->asked);
        if (gone < 0) {
            wait_to_write(c, true);
            return;
        }
        c->asked += (size_t)gone;
    }
    wait_to_write(c, false);
    if (!answered(c)) return;
    c->stage = OPEN;
    last_opened = now();
    opened++;
    if (option.mode == CONNECT) note_latency(last_opened - c->began);
    if (option.mode == ECHO) prepare_echo(c);
    size_t head = strlen(c->head) + 4, rest = c->head_length - head;
    memcpy(input, c->head + head, rest);
    free(c->head);
    c->head = NULL;
    if (rest) verify(c, input, rest, last_opened);
    if (more_decrypted(c)) read_all(c);
}

/* ---- the loop ------------------------------------------------------------------------------------------- */

/* One turn, which waits at most until a moment of the monotonic clock; whether standard input has ended. */
static bool turn(uint64_t until) {
    static struct epoll_event events[2048];
    uint64_t time = now(), wait = until > time ? until - time : 0;
    bool ended = false;
    if (wait > SECOND / 20) wait = SECOND / 20;
    struct timespec timeout = {.tv_nsec = (long)wait};
    int count = epoll_pwait2(poller, events, 2048, &timeout, NULL);
    if (count < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c)
            ended = true;
        else if (c->stage != OPEN)
            go_on_opening(c);
        else {
            if (events[i].events & EPOLLOUT) flush(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT) read_all(c);
        }
    }
    return ended;
}

static uint64_t waiting(void) {
    uint64_t missing = option.mode == BROADCAST ? published - reached : 0;
    if (option.mode == ECHO)
        for (int i = 0; i < total; i++) missing += connections[i].in_flight;
    return missing;
}

/* Turns until a moment, or until all `messages` have come; what does not move for `--stall` is an error. */
static void run_until(uint64_t end) {
    uint64_t seen = arrived, moved = now();
    for (uint64_t time = moved; time < end; time = now()) {
        if (option.mode == BROADCAST && !finishing) publish(&connections[0], time);
        if (option.messages && !waiting()) return;
        if (finishing && !waiting()) return;
        if (arrived != seen) {
            seen = arrived;
            moved = time;
        } else if ((double)(time - moved) / SECOND > option.stall)
            fail("nothing came for %g s; %llu messages are missing", option.stall, (unsigned long long)waiting());
        turn(end);
    }
}

static void measure(void) {
    const uint64_t forever = UINT64_MAX;
    if (option.mode == BROADCAST) {
        /* Servers make a connection a receiver after its 101 answer: let them come to it. */
        for (uint64_t end = now() + SECOND / 5 + (uint64_t)total * 100000; now() < end;) turn(end);
    }
    if (option.mode == ECHO)
        for (int i = 0; i < total; i++) {
            send_more(&connections[i], now());
            flush(&connections[i]);
        }
    if (!option.messages) run_until(now() + (uint64_t)(option.warmup * SECOND));
    struct load before = load_now();
    uint64_t start = now();
    measuring = true;
    run_until(option.messages ? forever : start + (uint64_t)(option.time * SECOND));
    measuring = false;
    uint64_t counted = measured;
    double seconds = (double)(now() - start) / SECOND;
    struct load after = load_now();
    finishing = true;
    run_until(forever);
    printf("{\"mode\": \"%s\", \"count\": %llu, \"rate\": %.3f, \"p50_us\": %.2f, \"p99_us\": %.2f, ",
           MODE_NAMES[option.mode], (unsigned long long)counted, (double)counted / seconds, latency_microseconds(.5),
           latency_microseconds(.99));
    print_load(before, after, seconds);
    puts("}");
}

static void open_all(void) {
    uint64_t seen_at = now();
    for (int seen = 0; opened < total;) {
        while (started < total && started - opened < option.at_once) open_connection(&connections[started]);
        turn(now() + SECOND / 20);
        if (opened != seen) {
            seen = opened;
            seen_at = now();
        } else if ((double)(now() - seen_at) / SECOND > option.stall)
            fail("only %d of %d connections opened", opened, total);
    }
}

static void hold(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    printf("{\"mode\": \"hold\", \"open\": %d}\n", opened);
    fflush(stdout);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event)) fail("standard input is no pipe");
    while (!turn(UINT64_MAX)) {}
    printf("{\"mode\": \"hold\", \"held\": %d}\n", opened);
}

/* ---- the command ---------------------------------------------------------------------------------------- */

static double number(const char *text, const char *name, double least) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least)) fail("--%s: %s is not a number from %g", name, text, least);
    return value;
}

static void read_options(int count, char **words) {
    static const struct option known[] = {
        {"mode", 1, 0, 'm'},     {"port", 1, 0, 'p'},        {"connections", 1, 0, 'c'}, {"window", 1, 0, 'w'},
        {"size", 1, 0, 's'},     {"messages", 1, 0, 'n'},    {"warmup", 1, 0, 'u'},      {"time", 1, 0, 't'},
        {"stall", 1, 0, 'x'},    {"at-once", 1, 0, 'a'},     {"server", 1, 0, 'i'},      {"server-core", 1, 0, 'e'},
        {"client-core", 1, 0, 'k'}, {"tls", 0, 0, 'l'},      {"path", 1, 0, 'q'},
        {0, 0, 0, 0}};
    int letter, place;
    while ((letter = getopt_long(count, words, "", known, &place)) != -1) {
        const char *name = known[place].name;
        switch (letter) {
        case 'm':
            while (option.mode <= HOLD && strcmp(optarg, MODE_NAMES[option.mode])) option.mode++;
            if (option.mode > HOLD) {
                option.mode = ECHO;
                fail("--mode: %s is not echo, broadcast, connect or hold", optarg);
            }
            break;
        case 'p': option.port = (int)number(optarg, name, 1); break;
        case 'c': option.connections = (int)number(optarg, name, 1); break;
        case 'w': option.window = (int)number(optarg, name, 1); break;
        case 's': option.size = (size_t)number(optarg, name, 1); break;
        case 'n': option.messages = (uint64_t)number(optarg, name, 1); break;
        case 'u': option.warmup = number(optarg, name, 0); break;
        case 't': option.time = number(optarg, name, 0); break;
        case 'x': option.stall = number(optarg, name, 0); break;
        case 'a': option.at_once = (int)number(optarg, name, 1); break;
        case 'i': option.server = (pid_t)number(optarg, name, 1); break;
        case 'e': option.server_core = (int)number(optarg, name, 0); break;
        case 'k': option.client_core = (int)number(optarg, name, 0); break;
        case 'l': option.tls = true; break;
        case 'q': option.path = optarg; break;
        default: fail("unknown option; see read_options in load.c");
        }
    }
    if (!option.port) fail("--port is missing");
    if (option.mode == BROADCAST && option.size < SHORTEST_BROADCAST)
        fail("--size: a broadcast has at least %d bytes", SHORTEST_BROADCAST);
}

int main(int count, char **words) {
    read_options(count, words);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    total = option.connections + (option.mode == BROADCAST);
    connections = reserve((size_t)total * sizeof *connections);
    if (option.mode == BROADCAST) prepare_broadcast();
    input_room = 1 << 18;
    while (input_room < 2 * (option.size + LONGEST_HEADER)) input_room *= 2;
    input = reserve(input_room);
    struct load before = load_now();
    open_all();
    struct load after = load_now();
    if (option.mode == HOLD)
        hold();
    else if (option.mode == CONNECT) {
        double seconds = (double)(last_opened - first_asked) / SECOND;
        printf("{\"mode\": \"connect\", \"count\": %d, \"rate\": %.3f, \"p50_us\": %.2f, \"p99_us\": %.2f, ", total,
               total / seconds, latency_microseconds(.5), latency_microseconds(.99));
        print_load(before, after, seconds);
        puts("}");
    } else
        measure();
    return 0;
}
