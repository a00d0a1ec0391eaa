#define _GNU_SOURCE
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "pattern.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

/* FIRST is what the first message is cut to. */
enum { BATCH = 100, FIRST = 1024 };

/* Connections of the same source address share its 28,000 ports, so many take turns. */
static bool bind_source(const struct run *run, int fd, uint64_t number) {
    struct sockaddr_in source = {.sin_family = AF_INET};
    int yes = 1;
    if (!run->options.sources)
        return true;
    source.sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)(number % (uint64_t)run->options.sources));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    return bind(fd, (struct sockaddr *)&source, sizeof source) == 0;
}

int source_socket(struct run *run, uint64_t number, int kind) {
    int yes = 1, fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (kind & SOCK_STREAM))
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (fd >= 0 && bind_source(run, fd, number))
        return fd;
    run_fault(run, NO_CONNECTION, number, "no socket: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void drop(struct run *run, struct connection *connection) {
    const struct options *o = &run->options;
    if (connection->fd < 0)
        return;
    close(connection->fd);
    connection->fd = -1;
    if (connection->sent > connection->first) {
        uint64_t begun = (connection->sent - connection->first + o->size - 1) / o->size;
        run->outstanding -= begun - connection->completed;
    }
}

static void open_one(struct run *run, struct connection *connection) {
    connection->fd = source_socket(run, connection->number, SOCK_STREAM);
    if (connection->fd < 0)
        return;
    /* As connect(2) waits too: for minutes, when the backlog is full. */
    double patience = run->options.patience;
    struct timeval limit = {(time_t)patience, (suseconds_t)((patience - (double)(time_t)patience) * 1e6)};
    setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(connection->fd, (struct sockaddr *)&run->address, sizeof run->address) != 0) {
        run_fault(run, NO_CONNECTION, connection->number, "no connection: %s", strerror(errno));
        drop(run, connection);
        return;
    }
    fcntl(connection->fd, F_SETFL, O_NONBLOCK);
}

static bool fits(struct run *run, struct connection *connection, const unsigned char *bytes, size_t count) {
    const unsigned char *expected = pattern_at(connection->is_told ? 0 : connection->number, connection->received);
    if (connection->received + count > connection->sent) {
        run_fault(run, EXTRA_BYTES, connection->number, "%llu bytes came back of %llu sent",
                  (unsigned long long)(connection->received + count), (unsigned long long)connection->sent);
        return false;
    }
    if (memcmp(bytes, expected, count) == 0)
        return true;
    size_t at = 0;
    while (bytes[at] == expected[at])
        at++;
    run_fault(run, WRONG_BYTES, connection->number, "byte %llu came back as %02x, not %02x",
              (unsigned long long)(connection->received + at), bytes[at], expected[at]);
    return false;
}

static bool ended(struct run *run, const struct connection *connection, ssize_t count) {
    if (count < 0)
        run_fault(run, RESET, connection->number, "it broke: %s", strerror(errno));
    else
        run_fault(run, CLOSED_EARLY, connection->number, "closed by the server after %llu of %llu bytes",
                  (unsigned long long)connection->received, (unsigned long long)connection->sent);
    return false;
}

bool take(struct run *run, struct connection *connection) {
    static unsigned char buffer[PATTERN_CHUNK];
    ssize_t count = recv(connection->fd, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (count <= 0)
        return ended(run, connection, count);
    if (!fits(run, connection, buffer, (size_t)count))
        return false;
    connection->received += (uint64_t)count;
    return true;
}

static void await_one(struct run *run, struct connection *connection, uint64_t deadline) {
    while (connection->fd >= 0 && connection->received < connection->sent) {
        struct pollfd wanted = {.fd = connection->fd, .events = POLLIN};
        uint64_t now = now_ns();
        if (now < deadline && poll(&wanted, 1, (int)((deadline - now) / 1000000u) + 1) > 0) {
            if (!take(run, connection))
                drop(run, connection);
            continue;
        }
        if (now >= deadline) {
            run_fault(run, NO_ANSWER, connection->number, "no answer within %g s", run->options.patience);
            drop(run, connection);
        }
    }
}

static void exchange(struct run *run, struct connection *connections, int count) {
    size_t whole = run->options.size, size = run->options.lines || whole < FIRST ? whole : FIRST;
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        if (c->fd < 0)
            continue;
        /* The connection is empty, so this little fits into the kernel's buffer. */
        if (send(c->fd, pattern_at(c->number, c->sent), size, MSG_NOSIGNAL) == (ssize_t)size) {
            c->sent += size;
            c->first = c->sent;
            continue;
        }
        run_fault(run, RESET, c->number, "cannot send: %s", strerror(errno));
        drop(run, c);
    }
    uint64_t deadline = now_ns() + (uint64_t)(run->options.patience * 1e9);
    for (int i = 0; i < count; i++)
        await_one(run, &connections[i], deadline);
}

static int batch_from(const struct run *run, int begin) {
    int left = run->options.connections - begin;
    return left < BATCH ? left : BATCH;
}

void exchange_all(struct run *run, struct connection *all) {
    for (int begin = 0; begin < run->options.connections; begin += BATCH)
        exchange(run, all + begin, batch_from(run, begin));
}

struct connection *open_connections(struct run *run) {
    size_t number = (size_t)run->options.connections, depth = (size_t)run->options.depth;
    struct connection *all = calloc(number, sizeof *all);
    uint64_t *rings = calloc(number * depth, sizeof *rings);
    if (!all || !rings) {
        perror("no memory for the connections");
        exit(2);
    }
    for (size_t i = 0; i < number; i++)
        all[i] = (struct connection){.number = i, .sent_at = rings + i * depth};
    for (int begin = 0; begin < run->options.connections; begin += BATCH) {
        for (int i = begin; i < begin + batch_from(run, begin); i++)
            open_one(run, &all[i]);
        exchange(run, all + begin, batch_from(run, begin));
    }
    return all;
}
