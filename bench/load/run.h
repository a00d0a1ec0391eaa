/* What every kind of load shares: the options, the clock, the measured window, the faults, and the result. */
#ifndef RUN_H
#define RUN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

struct options {
    const char *mode;
    const char *host;
    int port;
    int connections;
    size_t size;
    int depth;
    int stalled;       /* how many more connections are told and read nothing */
    int sources;       /* how many addresses 127.0.0.2 and following to call from; 0: the system chooses */
    double warmup;     /* seconds before the measured window */
    double seconds;    /* length of the window */
    uint64_t requests; /* end the window after so many requests; 0: only the time counts */
    double patience;   /* seconds after which an answer is taken for one that never comes */
    uint64_t cores;    /* a bit for each core whose busy time is read as well */
    pid_t server;      /* whose processor time to read at both ends of the window; 0: nobody's */
    bool forks;        /* whether that of its children counts, too */
    bool by_datagram;  /* whether the program is asked to tell, not a handler: see tell.c */
    double rate;       /* messages a second of all connections together, answered or not; 0: the next one after each */
    bool lines;
};

enum fault {
    WRONG_BYTES,   /* other bytes than were sent, or in another order */
    EXTRA_BYTES,   /* more bytes than were sent */
    CLOSED_EARLY,  /* the server closed while an answer was due */
    RESET,         /* the connection broke */
    NO_CONNECTION, /* it was never made */
    NO_ANSWER,     /* nothing came within the patience */
    FAULTS
};

enum phase { WARMING, MEASURING, DRAINING, OVER };

struct run {
    struct options options;
    struct sockaddr_in address;
    struct histogram latencies;
    enum phase phase;
    uint64_t began, window_from, window_to, ends; /* nanoseconds */
    uint64_t completed;                           /* requests answered within the window */
    uint64_t outstanding;                         /* requests sent and not answered */
    uint64_t fewest, most;                        /* requests of one connection within the window */
    double server_cpu[2], own_cpu[2];             /* seconds, at both ends of the window */
    double cores_busy[2];                         /* seconds, of whatever ran on the cores */
    double server_split[2][2];                    /* the same as user and system, which the kernel keeps coarser */
    uint64_t faults[FAULTS];
    char first_fault[200];
};

uint64_t now_ns(void);

/* Start the clock of the phases. */
void run_begin(struct run *run);

/* Go to the next phase when its time has come; say whether the phase changed. */
bool run_advance(struct run *run, uint64_t now);

/* Milliseconds that may be slept before `run_advance` has to be called again. */
int run_timeout(const struct run *run, uint64_t now);

/* Whether there is anything left to wait for: in a closed loop nothing comes when nothing is under way. */
bool run_goes_on(const struct run *run);

/* Close the window, where it ended early because every connection did. */
void run_end(struct run *run);

/* Note a request that was answered. */
void run_answered(struct run *run, uint64_t sent_at, uint64_t now);

__attribute__((format(printf, 4, 5))) void run_fault(struct run *run, enum fault fault, uint64_t connection,
                                                     const char *text, ...);
bool run_failed(const struct run *run);

/* Write the result as one line of JSON. */
void run_report(const struct run *run);

/* The kinds of load. */
void echo_load(struct run *run);
void churn_load(struct run *run);
void crowd_load(struct run *run);
void datagram_load(struct run *run);
void tell_load(struct run *run);

#endif
