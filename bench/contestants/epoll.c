/* The limit: an event loop in C that does nothing but echo. "epoll echo" serves TCP, "epoll udp" datagrams, "epoll tell"
 * has each connection told what one of them says, "epoll tell-program" what a datagram says; all listen on a free port of 127.0.0.1 and say which. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, BUFFER = 64 * 1024, BACKLOG = 1024, MEMBERS = 32 * 1024 };

/* What the kernel did not take yet; nothing is read from the connection until it has. */
struct connection {
    int fd;
    int place; /* among those that are told; -1 before its first message, which is echoed */
    char *rest;
    size_t from, to;
};

static int poller;
static bool tells;
static in_port_t port_of_last;
static struct connection *told[MEMBERS];
static int members;

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* On a free port, or on the one that is given. */
static int open_socket(int kind, in_port_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = port};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, kind, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("cannot listen");
    if (kind & SOCK_STREAM && listen(fd, BACKLOG) != 0)
        die("cannot listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    port_of_last = address.sin_port;
    return fd;
}

static void say_port(void) {
    printf("%d\n", ntohs(port_of_last));
    fflush(stdout);
}

static void watch(struct connection *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) != 0)
        die("epoll_ctl");
}

static void accept_all(int listener) {
    int yes = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            die("no memory");
        c->fd = fd;
        c->place = -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void end(struct connection *c) {
    if (c->place >= 0) {
        told[c->place] = told[--members];
        told[c->place]->place = c->place;
    }
    close(c->fd);
    free(c->rest);
    free(c);
}

static void keep(struct connection *c, const char *bytes, size_t count) {
    c->rest = malloc(count);
    if (!c->rest)
        die("no memory");
    memcpy(c->rest, bytes, count);
    c->from = 0;
    c->to = count;
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void send_rest(struct connection *c) {
    ssize_t sent = send(c->fd, c->rest + c->from, c->to - c->from, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end(c);
        return;
    }
    c->from += sent > 0 ? (size_t)sent : 0;
    if (c->from < c->to)
        return;
    free(c->rest);
    c->rest = NULL;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

/* Have a connection told all that is said from now on. One that says it is deaf has its kernel's buffers filled. */
static void join(struct connection *c, const char *said, ssize_t count) {
    static const char nothing[BUFFER];
    if (members == MEMBERS)
        die("too many members");
    told[c->place = members++] = c;
    if (count == 5 && memcmp(said, "\0deaf", 5) == 0)
        while (send(c->fd, nothing, sizeof nothing, MSG_NOSIGNAL) > 0)
            continue;
}

/* What a kernel does not take at once is lost. */
static void tell(const char *said, ssize_t count) {
    for (int i = 0; i < members; i++)
        send(told[i]->fd, said, (size_t)count, MSG_NOSIGNAL);
}

static void echo(struct connection *c) {
    static char buffer[BUFFER];
    ssize_t count = recv(c->fd, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (tells && count > 0 && c->place >= 0) {
        tell(buffer, count);
        return;
    }
    if (tells && count > 0)
        join(c, buffer, count);
    ssize_t sent = count > 0 ? send(c->fd, buffer, (size_t)count, MSG_NOSIGNAL) : -1;
    if (count <= 0 || (sent < 0 && errno != EAGAIN)) {
        end(c);
        return;
    }
    sent = sent > 0 ? sent : 0;
    if (sent < count)
        keep(c, buffer + sent, (size_t)(count - sent));
}

static void tell_datagram(int fd) {
    static char buffer[BUFFER];
    ssize_t count = recv(fd, buffer, sizeof buffer, 0);
    if (count > 0)
        tell(buffer, count);
}

static void serve_streams(bool hears_datagrams) {
    static struct epoll_event events[EVENTS];
    struct connection listener = {.fd = open_socket(SOCK_STREAM | SOCK_NONBLOCK, 0)}, datagrams = {.fd = -1};
    poller = epoll_create1(0);
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    if (hears_datagrams) {
        datagrams.fd = open_socket(SOCK_DGRAM | SOCK_NONBLOCK, port_of_last);
        watch(&datagrams, EPOLL_CTL_ADD, EPOLLIN);
    }
    say_port();
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &listener)
                accept_all(c->fd);
            else if (c == &datagrams)
                tell_datagram(c->fd);
            else if (c->rest)
                send_rest(c);
            else
                echo(c);
        }
    }
}

static void serve_datagrams(void) {
    static char buffer[BUFFER];
    int fd = open_socket(SOCK_DGRAM, 0);
    say_port();
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t count = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &length);
        if (count >= 0)
            sendto(fd, buffer, (size_t)count, 0, (struct sockaddr *)&peer, length);
    }
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "udp") == 0)
        serve_datagrams();
    tells = argc == 2 && strncmp(argv[1], "tell", 4) == 0;
    serve_streams(argc == 2 && strcmp(argv[1], "tell-program") == 0);
}
