/* Telling all: the first connection says a message, which each of them has to hear, itself too; then it says the next.
 * What one of them has heard is a request. Some more may be stalled: they are told, and read nothing. The program may
 * be asked to tell in the place of a handler: then the message is a datagram to the port that it listens on. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "connection.h"
#include "pattern.h"

enum { EVENTS = 512, SMALL_BUFFER = 4096 };

/* On a connection that begins with this the server sends until the kernel takes no more. */
static const char deaf[] = "\0deaf";

static uint64_t said_at;
static int said_by = -1;

static void open_stalled(struct run *run, uint64_t number) {
    int size = SMALL_BUFFER, fd = source_socket(run, number, SOCK_STREAM);
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (connect(fd, (struct sockaddr *)&run->address, sizeof run->address) != 0 ||
        send(fd, deaf, sizeof deaf - 1, MSG_NOSIGNAL) < 0 || poll(&wanted, 1, (int)(run->options.patience * 1e3)) != 1)
        run_fault(run, NO_CONNECTION, number, "the server sends nothing to one that will not read: %s", strerror(errno));
}

static void watch_all(struct run *run, struct connection *all, int poller) {
    for (int i = 0; i < run->options.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].is_told = true;
        if (all[i].fd >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event) != 0) {
            perror("epoll_ctl");
            exit(2);
        }
    }
}

/* The message is of a kilobyte at most, and all that were before it are heard: so the kernel takes it whole. */
static void say(struct run *run, struct connection *all) {
    size_t size = run->options.size;
    said_at = now_ns();
    if (all->fd < 0)
        return;
    if (send(said_by < 0 ? all->fd : said_by, pattern_at(0, all->sent), size, MSG_NOSIGNAL) != (ssize_t)size) {
        run_fault(run, RESET, 0, "cannot send: %s", strerror(errno));
        return;
    }
    for (int i = 0; i < run->options.connections; i++) {
        if (all[i].fd < 0)
            continue;
        all[i].sent += size;
        run->outstanding++;
    }
}

static void hear(struct run *run, struct connection *c) {
    if (c->fd < 0)
        return;
    if (!take(run, c)) {
        drop(run, c);
        return;
    }
    uint64_t now = now_ns();
    while (c->first + (c->completed + 1) * run->options.size <= c->received) {
        run_answered(run, said_at, now);
        c->completed++;
        c->in_window += run->phase == MEASURING;
    }
}

static void finish(struct run *run, const struct connection *all) {
    run->fewest = UINT64_MAX;
    for (int i = 0; i < run->options.connections; i++) {
        const struct connection *c = &all[i];
        if (c->fd >= 0 && c->received < c->sent)
            run_fault(run, NO_ANSWER, c->number, "%llu bytes of %llu were told it within %g s",
                      (unsigned long long)c->received, (unsigned long long)c->sent, run->options.patience);
        run->fewest = c->in_window < run->fewest ? c->in_window : run->fewest;
        run->most = c->in_window > run->most ? c->in_window : run->most;
    }
}

void tell_load(struct run *run) {
    static struct epoll_event events[EVENTS];
    struct connection *all = open_connections(run);
    for (int i = 0; i < run->options.stalled; i++)
        open_stalled(run, (uint64_t)(run->options.connections + i));
    int poller = epoll_create1(EPOLL_CLOEXEC);
    watch_all(run, all, poller);
    if (run->options.by_datagram) {
        said_by = socket(AF_INET, SOCK_DGRAM, 0);
        if (said_by < 0 || connect(said_by, (struct sockaddr *)&run->address, sizeof run->address) != 0) {
            perror("no socket for datagrams");
            exit(2);
        }
    }
    run_begin(run);
    say(run, all);
    while (run_goes_on(run)) {
        int count = epoll_wait(poller, events, EVENTS, run_timeout(run, now_ns()));
        for (int i = 0; i < count; i++)
            hear(run, events[i].data.ptr);
        run_advance(run, now_ns());
        if (!run->outstanding && run->phase < DRAINING)
            say(run, all);
    }
    run_end(run);
    finish(run, all);
}
