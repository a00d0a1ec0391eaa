/* An idle crowd: open the connections, say so, hold them until standard input ends, and see that all are served. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "connection.h"

static int alive(const struct connection *all, int count) {
    int living = 0;
    for (int i = 0; i < count; i++)
        living += all[i].fd >= 0;
    return living;
}

static void announce(const char *name, const struct run *run, const struct connection *all, uint64_t began) {
    printf("{\"%s\": %d, \"seconds\": %.3f, \"failed\": %s, \"first_fault\": \"%s\"}\n", name,
           alive(all, run->options.connections), (double)(now_ns() - began) / 1e9,
           run_failed(run) ? "true" : "false", run->first_fault);
    fflush(stdout);
}

void crowd_load(struct run *run) {
    char nothing[64];
    uint64_t began = now_ns();
    struct connection *all = open_connections(run);
    announce("held", run, all, began);
    while (read(STDIN_FILENO, nothing, sizeof nothing) > 0)
        continue;
    began = now_ns();
    exchange_all(run, all);
    announce("still_served", run, all, began);
    free(all);
}
