/* The load generator: load MODE --port N [--connections N] [--size BYTES] ... ; one line of JSON is its result.
 *
 * It exits with 1 when anything went wrong between it and the server, and with 2 when it could not do its own work. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "run.h"

static const struct {
    const char *name;
    void (*load)(struct run *);
} modes[] = {{"echo", echo_load}, {"lines", echo_load}, {"churn", churn_load}, {"crowd", crowd_load}, {"udp", datagram_load},
           {"tell", tell_load}};

static const struct option names[] = {
    {"host", 1, 0, 'h'},    {"port", 1, 0, 'p'},     {"connections", 1, 0, 'c'}, {"size", 1, 0, 's'},
    {"depth", 1, 0, 'd'},   {"sources", 1, 0, 'a'},  {"warmup", 1, 0, 'w'},      {"seconds", 1, 0, 't'},
    {"requests", 1, 0, 'n'}, {"patience", 1, 0, 'l'}, {"server", 1, 0, 'S'},
    {"core", 1, 0, 'C'},    {"stalled", 1, 0, 'z'},  {"forks", 1, 0, 'f'},
    {"datagram", 1, 0, 'g'}, {"rate", 1, 0, 'r'},    {0, 0, 0, 0},
};

static void usage(void) {
    fputs("usage: load echo|lines|churn|crowd|udp|tell --port N [--host A] [--connections N] [--size BYTES] [--depth N]\n"
          "            [--sources N] [--stalled N] [--datagram 1] [--rate N] [--warmup S] [--seconds S] [--requests N]\n"
          "            [--patience S] [--server PID] [--forks 1] [--core N]...\n",
          stderr);
    exit(2);
}

static void set(struct options *o, int name) {
    switch (name) {
    case 'h': o->host = optarg; break;
    case 'p': o->port = atoi(optarg); break;
    case 'c': o->connections = atoi(optarg); break;
    case 's': o->size = strtoul(optarg, NULL, 10); break;
    case 'd': o->depth = atoi(optarg); break;
    case 'a': o->sources = atoi(optarg); break;
    case 'z': o->stalled = atoi(optarg); break;
    case 'f': o->forks = atoi(optarg); break;
    case 'g': o->by_datagram = atoi(optarg); break;
    case 'r': o->rate = atof(optarg); break;
    case 'w': o->warmup = atof(optarg); break;
    case 't': o->seconds = atof(optarg); break;
    case 'n': o->requests = strtoull(optarg, NULL, 10); break;
    case 'l': o->patience = atof(optarg); break;
    case 'C': o->cores |= 1ull << atoi(optarg); break;
    case 'S': o->server = atoi(optarg); break;
    default: usage();
    }
}

static void read_options(struct options *o, int argc, char **argv) {
    *o = (struct options){.host = "127.0.0.1", .connections = 1, .size = 64, .depth = 1, .seconds = 1, .patience = 10};
    if (argc < 2)
        usage();
    o->mode = argv[1];
    o->lines = strcmp(o->mode, "lines") == 0;
    for (int name; (name = getopt_long(argc - 1, argv + 1, "", names, NULL)) != -1;)
        set(o, name);
    if (o->port <= 0 || o->connections <= 0 || o->depth <= 0 || o->size == 0)
        usage();
}

/* "load percentiles" reads nanoseconds and says what the histogram makes of them: so it is tested. */
static int percentiles(void) {
    static struct run run = {.options = {.mode = "percentiles"}};
    unsigned long long value;
    while (scanf("%llu", &value) == 1)
        histogram_record(&run.latencies, value);
    run_report(&run);
    return 0;
}

int main(int argc, char **argv) {
    static struct run run;
    if (argc == 2 && strcmp(argv[1], "percentiles") == 0)
        return percentiles();
    read_options(&run.options, argc, argv);
    run.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)run.options.port)};
    if (inet_pton(AF_INET, run.options.host, &run.address.sin_addr) != 1)
        usage();
    pattern_prepare(run.options.lines ? run.options.size : 0);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(run.options.mode, modes[i].name) != 0)
            continue;
        modes[i].load(&run);
        if (modes[i].load != crowd_load)
            run_report(&run);
        return run_failed(&run);
    }
    usage();
}
