/* Closed-loop echo: each connection keeps `depth` messages under way, and sends the next one when one is back. At a
 * rate the connections send in turn, each at its moment, while no more than `depth` are under way; latencies count from
 * that moment, or a server that is slow would be asked less often when it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "connection.h"
#include "pattern.h"

enum { EVENTS = 512 };

static int poller;
static int timer;
static uint64_t sent_in_turn; /* messages whose moment has come */

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

static uint64_t moment_of(const struct run *run, uint64_t message) {
    return run->began + (uint64_t)((double)message / run->options.rate * 1e9);
}

/* When a message is due; those of all connections are numbered in turn. */
static uint64_t due_at(const struct run *run, const struct connection *c, uint64_t message) {
    return moment_of(run, message * (uint64_t)run->options.connections + c->number);
}

/* How far the connection may have sent: up to the end of the last message of those that may be under way. */
static uint64_t allowed(const struct run *run, const struct connection *c) {
    uint64_t messages = c->completed + (uint64_t)run->options.depth;
    if (run->options.rate > 0) {
        uint64_t all = (uint64_t)run->options.connections;
        uint64_t due = sent_in_turn > c->number ? (sent_in_turn - c->number + all - 1) / all : 0;
        messages = due < messages ? due : messages;
    }
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
        c->sent_at[message % (uint64_t)run->options.depth] = run->options.rate > 0 ? due_at(run, c, message) : now;
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

static void set_timer(const struct run *run) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        perror("timer");
    if (run->phase >= DRAINING)
        return;
    uint64_t at = moment_of(run, sent_in_turn);
    struct itimerspec due = {.it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &due, NULL);
}

/* Send what is due by now. */
static void take_turns(struct run *run, struct connection *all) {
    while (run->phase < DRAINING && moment_of(run, sent_in_turn) <= now_ns()) {
        struct connection *c = &all[sent_in_turn++ % (uint64_t)run->options.connections];
        if (c->fd >= 0 && !c->blocked && !send_due(run, c, now_ns()))
            drop(run, c);
    }
    set_timer(run);
}

static void start_in_turn(struct run *run, struct connection *all) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event) != 0) {
        perror("no timer");
        exit(2);
    }
    take_turns(run, all);
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
    if (run->options.rate > 0)
        start_in_turn(run, all);
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
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                serve(run, &events[i]);
            else
                take_turns(run, all);
        }
        run_advance(run, now_ns());
    }
    run_end(run);
    finish(run, all);
}
