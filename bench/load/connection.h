/* A TCP connection whose bytes are checked, and how a number of them are opened. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "run.h"

struct connection {
    int fd; /* -1: there is none any more */
    uint64_t number;
    bool is_told;            /* what comes is what connection 0 sends, not what this one does */
    uint64_t sent, received; /* bytes */
    uint64_t first;          /* where the first counted message begins */
    uint64_t completed;      /* counted messages that came back */
    uint64_t in_window;      /* those that came back within the window */
    uint64_t *sent_at;       /* when each of the messages under way was sent: a ring of `depth` */
    bool blocked;            /* the kernel takes no more at the moment */
};

/* A socket bound to the source address that is due; -1 and a fault when there is none. */
int source_socket(struct run *run, uint64_t number, int kind);

/* Open all connections, a hundred at a time, so that no server's backlog runs over; each is known to be served, for
 * it has had its first bytes back. Those that failed have the descriptor -1. */
struct connection *open_connections(struct run *run);

/* Send a message on each (of a kilobyte at most) and wait until it is back, a hundred at a time. */
void exchange_all(struct run *run, struct connection *all);

/* Take what has come; check it. False when the connection has ended, after noting the fault. */
bool take(struct run *run, struct connection *connection);

/* Give up a connection whose fault was noted, or that is not needed any more. */
void drop(struct run *run, struct connection *connection);

#endif
