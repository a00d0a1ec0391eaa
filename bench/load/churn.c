/* Connect, echo, close, again and again: `connections` calls are under way at any time. A call is one message, sent
 * and come back, then our half-close, and is over when the server has closed too. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "pattern.h"

enum { EVENTS = 256 };

struct call {
    struct connection connection;
    uint64_t began;
    bool said; /* the message is sent, and we have only to listen */
    bool heard; /* the message is back, and our half is closed */
};

static int poller;
static uint64_t calls;

static void hang_up(struct call *call) {
    close(call->connection.fd);
    call->connection.fd = -1;
}

static void fail(struct run *run, struct call *call) {
    hang_up(call);
    run->outstanding--;
}

static void dial(struct run *run, struct call *call) {
    struct connection *c = &call->connection;
    *call = (struct call){.began = now_ns(), .connection.number = calls++};
    c->fd = source_socket(run, c->number, SOCK_STREAM | SOCK_NONBLOCK);
    if (c->fd < 0)
        return;
    run->outstanding++;
    int failed = connect(c->fd, (struct sockaddr *)&run->address, sizeof run->address);
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = call};
    if ((failed && errno != EINPROGRESS) || epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        run_fault(run, NO_CONNECTION, c->number, "no connection: %s", strerror(errno));
        fail(run, call);
    }
}

static bool say(struct run *run, struct call *call) {
    struct connection *c = &call->connection;
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (!error && send(c->fd, pattern_at(c->number, 0), run->options.size, MSG_NOSIGNAL) == (ssize_t)run->options.size) {
        c->sent = run->options.size;
        call->said = true;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = call};
        return epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) == 0;
    }
    run_fault(run, NO_CONNECTION, c->number, "no connection: %s", strerror(error ? error : errno));
    return false;
}

static bool hear(struct run *run, struct call *call) {
    struct connection *c = &call->connection;
    if (!take(run, c))
        return false;
    if (c->received < c->sent)
        return true;
    call->heard = true;
    shutdown(c->fd, SHUT_WR);
    return true;
}

/* True when the server has closed too. */
static bool see_end(struct run *run, struct call *call, bool *alive) {
    unsigned char byte;
    ssize_t count = recv(call->connection.fd, &byte, 1, 0);
    if (count == 0)
        return true;
    if (count > 0)
        run_fault(run, EXTRA_BYTES, call->connection.number, "something came after the answer");
    else if (errno != EAGAIN)
        run_fault(run, RESET, call->connection.number, "it broke at the end: %s", strerror(errno));
    *alive = count < 0 && errno == EAGAIN;
    return false;
}

static void serve(struct run *run, struct call *call) {
    bool alive = true, over = false;
    if (!call->said)
        alive = say(run, call);
    else if (!call->heard)
        alive = hear(run, call);
    else
        over = see_end(run, call, &alive);
    if (!alive) {
        fail(run, call);
    } else if (over) {
        hang_up(call);
        run_answered(run, call->began, now_ns());
        if (run->phase != DRAINING)
            dial(run, call);
    }
}

static void finish(struct run *run, const struct call *all) {
    for (int i = 0; i < run->options.connections; i++)
        if (all[i].connection.fd >= 0)
            run_fault(run, NO_ANSWER, all[i].connection.number, "the call was not over within %g s",
                      run->options.patience);
}

void churn_load(struct run *run) {
    static struct epoll_event events[EVENTS];
    struct call *all = calloc((size_t)run->options.connections, sizeof *all);
    if (!all)
        exit(2);
    poller = epoll_create1(EPOLL_CLOEXEC);
    run_begin(run);
    for (int i = 0; i < run->options.connections; i++)
        dial(run, &all[i]);
    while (run_goes_on(run)) {
        int count = epoll_wait(poller, events, EVENTS, run_timeout(run, now_ns()));
        for (int i = 0; i < count; i++)
            serve(run, events[i].data.ptr);
        run_advance(run, now_ns());
    }
    run_end(run);
    finish(run, all);
}
