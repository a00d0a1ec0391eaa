/* Closed-loop echo: each connection keeps `depth` messages under way, and sends the next one when one is back. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "connection.h"
#include "pattern.h"

enum { EVENTS = 512 };

static int poller;

static void watch(struct connection *connection, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poller, operation, connection->fd, &event) != 0) {
        perror("epoll_ctl");
        exit(2);
    }
}

static void set_blocked(struct connection *connection, bool blocked) {
    if (connection->blocked == blocked)
        return;
    connection->blocked = blocked;
    watch(connection, EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* How far the connection may have sent: up to the end of the last message of those that may be under way. */
static uint64_t allowed(const struct run *run, const struct connection *c) {
    uint64_t messages = c->completed + (uint64_t)run->options.depth;
    if (run->phase == DRAINING) {
        /* Only what was begun is finished. */
        uint64_t size = run->options.size;
        messages = (c->sent - c->first + size - 1) / size;
    }
    return c->first + messages * run->options.size;
}

/* Note for each message that begins within these bytes when that was. */
static void stamp(struct run *run, struct connection *c, uint64_t from, uint64_t to, uint64_t now) {
    uint64_t size = run->options.size;
    for (uint64_t message = (from - c->first + size - 1) / size; c->first + message * size < to; message++) {
        c->sent_at[message % (uint64_t)run->options.depth] = now;
        run->outstanding++;
    }
}

static bool send_due(struct run *run, struct connection *c, uint64_t now) {
    uint64_t goal = allowed(run, c);
    while (c->sent < goal) {
        size_t piece = goal - c->sent < PATTERN_CHUNK ? (size_t)(goal - c->sent) : PATTERN_CHUNK;
        ssize_t count = send(c->fd, pattern_at(c->number, c->sent), piece, MSG_NOSIGNAL);
        if (count < 0 && errno == EAGAIN) {
            set_blocked(c, true);
            return true;
        }
        if (count < 0) {
            run_fault(run, RESET, c->number, "cannot send: %s", strerror(errno));
            return false;
        }
        stamp(run, c, c->sent, c->sent + (uint64_t)count, now);
        c->sent += (uint64_t)count;
    }
    set_blocked(c, false);
    return true;
}

static void count_answers(struct run *run, struct connection *c, uint64_t now) {
    uint64_t size = run->options.size;
    while (c->first + (c->completed + 1) * size <= c->received) {
        run_answered(run, c->sent_at[c->completed % (uint64_t)run->options.depth], now);
        c->completed++;
        if (run->phase == MEASURING)
            c->in_window++;
    }
}

static void serve(struct run *run, struct epoll_event *event) {
    struct connection *c = event->data.ptr;
    if (c->fd < 0)
        return;
    bool alive = true;
    if (event->events & ~(uint32_t)EPOLLOUT)
        alive = take(run, c);
    uint64_t now = now_ns();
    if (alive) {
        count_answers(run, c, now);
        alive = send_due(run, c, now);
    }
    if (!alive)
        drop(run, c);
}

static void start(struct run *run, struct connection *all) {
    run_begin(run);
    for (int i = 0; i < run->options.connections; i++) {
        if (all[i].fd < 0)
            continue;
        watch(&all[i], EPOLL_CTL_ADD, EPOLLIN);
        if (!send_due(run, &all[i], now_ns()))
            drop(run, &all[i]);
    }
}

static void finish(struct run *run, struct connection *all) {
    run->fewest = UINT64_MAX;
    for (int i = 0; i < run->options.connections; i++) {
        struct connection *c = &all[i];
        if (c->fd >= 0 && c->received < c->sent)
            run_fault(run, NO_ANSWER, c->number, "%llu bytes of %llu came back within %g s",
                      (unsigned long long)c->received, (unsigned long long)c->sent, run->options.patience);
        else if (c->fd >= 0 && !take(run, c))
            drop(run, c); /* what comes now is too much, or a close that nobody asked for */
        run->fewest = c->in_window < run->fewest ? c->in_window : run->fewest;
        run->most = c->in_window > run->most ? c->in_window : run->most;
    }
}

void echo_load(struct run *run) {
    static struct epoll_event events[EVENTS];
    struct connection *all = open_connections(run);
    poller = epoll_create1(EPOLL_CLOEXEC);
    start(run, all);
    while (run_goes_on(run)) {
        int count = epoll_wait(poller, events, EVENTS, run_timeout(run, now_ns()));
        for (int i = 0; i < count; i++)
            serve(run, &events[i]);
        run_advance(run, now_ns());
    }
    run_end(run);
    finish(run, all);
}
