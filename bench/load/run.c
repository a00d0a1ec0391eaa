#define _GNU_SOURCE
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const fault_names[FAULTS] = {"wrong bytes", "extra bytes",   "closed early",
                                                "reset",       "no connection", "no answer"};

static uint64_t read_clock(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t now_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

/* The processor time of all threads of a process, those that have ended too. The kernel brings another process's
 * up to date when it is scheduled and at each tick of the clock, so both ends of a window may be some milliseconds
 * behind. */
static double cpu_of(pid_t pid) {
    clockid_t clock;
    if (pid && clock_getcpuclockid(pid, &clock) != 0)
        return 0;
    return (double)read_clock(pid ? clock : CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

/* The ticks of a process, and of those children whose end it has taken notice of: user, system, each of both. */
static bool ticks_of(pid_t pid, unsigned long ticks[4]) {
    char path[40], line[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (!file)
        return false;
    const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL; /* the name may hold anything */
    fclose(file);
    return rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", ticks, ticks + 1,
                          ticks + 2, ticks + 3) == 4;
}

static void split_of(pid_t pid, double *split) {
    unsigned long ticks[4] = {0};
    if (!ticks_of(pid, ticks))
        return;
    double tick = (double)sysconf(_SC_CLK_TCK);
    split[0] = (double)(ticks[0] + ticks[2]) / tick;
    split[1] = (double)(ticks[1] + ticks[3]) / tick;
}

/* The processor time of a thread's children, which the kernel lists by the thread that forked. */
static double cpu_of_children_of(pid_t pid, const char *thread) {
    char path[300];
    double seconds = 0;
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid, thread);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%d", &child) == 1)
        seconds += cpu_of(child);
    if (file)
        fclose(file);
    return seconds;
}

/* Of children that live, and of those that have ended, which the kernel keeps in ticks. */
static double cpu_of_children(pid_t pid) {
    char path[40];
    unsigned long ticks[4] = {0};
    double seconds = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    for (struct dirent *each; threads && (each = readdir(threads));)
        if (each->d_name[0] != '.')
            seconds += cpu_of_children_of(pid, each->d_name);
    if (threads)
        closedir(threads);
    if (ticks_of(pid, ticks))
        seconds += (double)(ticks[2] + ticks[3]) / (double)sysconf(_SC_CLK_TCK);
    return seconds;
}

/* What ran on the cores, ours or not: all times of /proc/stat but idle and waiting for a disk. */
static double busy_of(uint64_t cores) {
    char line[512];
    unsigned core;
    unsigned long long t[8], ticks = 0;
    FILE *file = fopen("/proc/stat", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "cpu%u %llu %llu %llu %llu %llu %llu %llu %llu", &core, t, t + 1, t + 2, t + 3, t + 4, t + 5,
                   t + 6, t + 7) == 9 &&
            core < 64 && cores >> core & 1)
            ticks += t[0] + t[1] + t[2] + t[5] + t[6] + t[7];
    if (file)
        fclose(file);
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void read_accounts(struct run *run, int end) {
    run->server_cpu[end] = run->options.server ? cpu_of(run->options.server) : 0;
    if (run->options.forks)
        run->server_cpu[end] += cpu_of_children(run->options.server);
    split_of(run->options.server, run->server_split[end]);
    run->own_cpu[end] = cpu_of(0);
    run->cores_busy[end] = busy_of(run->options.cores);
}

void run_begin(struct run *run) {
    run->phase = WARMING;
    run->began = now_ns();
    run->ends = run->began + (uint64_t)(run->options.warmup * 1e9);
}

static void open_window(struct run *run) {
    read_accounts(run, 0);
    histogram_clear(&run->latencies);
    run->completed = 0;
    run->phase = MEASURING;
    run->window_from = now_ns();
    run->ends = run->window_from + (uint64_t)(run->options.seconds * 1e9);
}

static void close_window(struct run *run) {
    run->window_to = now_ns();
    read_accounts(run, 1);
    run->phase = DRAINING;
    run->ends = run->window_to + (uint64_t)(run->options.patience * 1e9);
}

/* A server that starves everybody for a whole window is measured until it answers again, or its worst moments would
 * be the ones that do not count. */
static bool starved(const struct run *run, uint64_t now) {
    return run->phase == MEASURING && !run->completed && run->outstanding &&
           now < run->ends + (uint64_t)(run->options.patience * 1e9);
}

bool run_advance(struct run *run, uint64_t now) {
    bool counted_out = run->phase == MEASURING && run->options.requests && run->completed >= run->options.requests;
    if ((now < run->ends && !counted_out) || starved(run, now))
        return false;
    if (run->phase == WARMING)
        open_window(run);
    else if (run->phase == MEASURING)
        close_window(run);
    else if (run->phase == DRAINING)
        run->phase = OVER;
    else
        return false;
    return true;
}

bool run_goes_on(const struct run *run) {
    bool comes_more = run->options.rate > 0 && run->phase < DRAINING;
    return run->phase != OVER && (run->outstanding > 0 || comes_more);
}

void run_end(struct run *run) {
    if (run->phase == WARMING)
        open_window(run);
    if (run->phase == MEASURING)
        close_window(run);
}

int run_timeout(const struct run *run, uint64_t now) {
    return now >= run->ends ? 1 : (int)((run->ends - now) / 1000000u) + 1;
}

void run_answered(struct run *run, uint64_t sent_at, uint64_t now) {
    /* What is still out when the window ends has its latency recorded, or a client that waited all the time would not
     * show; it is no request of the window, though, and the processor time is the window's. */
    histogram_record(&run->latencies, now - sent_at);
    run->outstanding--;
    if (run->phase != DRAINING)
        run->completed++;
}

void run_fault(struct run *run, enum fault fault, uint64_t connection, const char *text, ...) {
    if (!run_failed(run)) {
        va_list arguments;
        int written = snprintf(run->first_fault, sizeof run->first_fault, "connection %llu: ",
                               (unsigned long long)connection);
        va_start(arguments, text);
        vsnprintf(run->first_fault + written, sizeof run->first_fault - (size_t)written, text, arguments);
        va_end(arguments);
    }
    run->faults[fault]++;
}

bool run_failed(const struct run *run) {
    for (int i = 0; i < FAULTS; i++)
        if (run->faults[i])
            return true;
    return false;
}

static void report_latencies(const struct histogram *h) {
    static const double percents[] = {50, 90, 99, 99.9};
    printf("\"latency_us\": {");
    for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
        printf("\"p%g\": %.2f, ", percents[i], (double)histogram_percentile(h, percents[i]) / 1e3);
    printf("\"max\": %.2f, \"mean\": %.2f}", (double)h->max / 1e3,
           h->total ? (double)h->sum / (double)h->total / 1e3 : 0.0);
}

static void report_faults(const struct run *run) {
    const char *separator = "";
    printf("\"faults\": {");
    for (int i = 0; i < FAULTS; i++) {
        if (!run->faults[i])
            continue;
        printf("%s\"%s\": %llu", separator, fault_names[i], (unsigned long long)run->faults[i]);
        separator = ", ";
    }
    printf("}, \"first_fault\": \"%s\"", run->first_fault);
}

void run_report(const struct run *run) {
    printf("{\"mode\": \"%s\", \"connections\": %d, \"size\": %zu, \"depth\": %d, ", run->options.mode,
           run->options.connections, run->options.size, run->options.depth);
    printf("\"seconds\": %.6f, \"requests\": %llu, \"fewest\": %llu, \"most\": %llu, ",
           (double)(run->window_to - run->window_from) / 1e9, (unsigned long long)run->completed,
           (unsigned long long)run->fewest, (unsigned long long)run->most);
    printf("\"server_cpu\": %.6f, \"server_user\": %.2f, \"server_system\": %.2f, \"load_cpu\": %.6f, "
           "\"cores_busy\": %.2f, ",
           run->server_cpu[1] - run->server_cpu[0], run->server_split[1][0] - run->server_split[0][0],
           run->server_split[1][1] - run->server_split[0][1], run->own_cpu[1] - run->own_cpu[0],
           run->cores_busy[1] - run->cores_busy[0]);
    report_latencies(&run->latencies);
    printf(", ");
    report_faults(run);
    printf("}\n");
    fflush(stdout);
}
