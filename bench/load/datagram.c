/* Closed-loop UDP echo: each socket sends the next datagram when the last one is back. One that is lost is a fault. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "pattern.h"

enum { EVENTS = 512 };

struct caller {
    int fd;
    uint64_t number, messages, sent_at, in_window;
    bool waiting;
};

static void say(struct run *run, struct caller *caller) {
    size_t size = run->options.size;
    caller->sent_at = now_ns();
    caller->waiting = true;
    run->outstanding++;
    if (send(caller->fd, pattern_at(caller->number, caller->messages * size), size, 0) != (ssize_t)size)
        run_fault(run, RESET, caller->number, "cannot send: %s", strerror(errno));
}

/* Whether this is the answer; the fault is noted when it is not. */
static bool right(struct run *run, const struct caller *caller, const unsigned char *bytes, ssize_t count) {
    size_t size = run->options.size;
    if (count < 0)
        run_fault(run, RESET, caller->number, "it broke: %s", strerror(errno));
    else if (!caller->waiting)
        run_fault(run, EXTRA_BYTES, caller->number, "a datagram came that nobody waited for");
    else if ((size_t)count != size || memcmp(bytes, pattern_at(caller->number, caller->messages * size), size) != 0)
        run_fault(run, WRONG_BYTES, caller->number, "datagram %llu came back changed",
                  (unsigned long long)caller->messages);
    else
        return true;
    return false;
}

static void retire(struct run *run, struct caller *caller) {
    close(caller->fd);
    if (caller->waiting)
        run->outstanding--;
    caller->waiting = false;
}

static void hear(struct run *run, struct caller *caller) {
    static unsigned char buffer[65536];
    ssize_t count = recv(caller->fd, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (!right(run, caller, buffer, count)) {
        retire(run, caller);
        return;
    }
    caller->waiting = false;
    caller->messages++;
    if (run->phase == MEASURING)
        caller->in_window++;
    run_answered(run, caller->sent_at, now_ns());
    if (run->phase != DRAINING)
        say(run, caller);
}

static struct caller *open_callers(struct run *run, int poller) {
    struct caller *all = calloc((size_t)run->options.connections, sizeof *all);
    for (int i = 0; all && i < run->options.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        all[i].number = (uint64_t)i;
        all[i].fd = source_socket(run, (uint64_t)i, SOCK_DGRAM | SOCK_NONBLOCK);
        if (all[i].fd < 0 || connect(all[i].fd, (struct sockaddr *)&run->address, sizeof run->address) != 0 ||
            epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event) != 0)
            run_fault(run, NO_CONNECTION, all[i].number, "no socket: %s", strerror(errno));
    }
    if (!all)
        exit(2);
    return all;
}

static void finish(struct run *run, const struct caller *all) {
    run->fewest = UINT64_MAX;
    for (int i = 0; i < run->options.connections; i++) {
        if (all[i].waiting)
            run_fault(run, NO_ANSWER, all[i].number, "datagram %llu did not come back within %g s",
                      (unsigned long long)all[i].messages, run->options.patience);
        run->fewest = all[i].in_window < run->fewest ? all[i].in_window : run->fewest;
        run->most = all[i].in_window > run->most ? all[i].in_window : run->most;
    }
}

void datagram_load(struct run *run) {
    static struct epoll_event events[EVENTS];
    int poller = epoll_create1(EPOLL_CLOEXEC);
    struct caller *all = open_callers(run, poller);
    run_begin(run);
    for (int i = 0; i < run->options.connections; i++)
        say(run, &all[i]);
    while (run_goes_on(run)) {
        int count = epoll_wait(poller, events, EVENTS, run_timeout(run, now_ns()));
        for (int i = 0; i < count; i++)
            hear(run, events[i].data.ptr);
        run_advance(run, now_ns());
    }
    run_end(run);
    finish(run, all);
}
