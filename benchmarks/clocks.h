/* Latencies and processor time, as the load reports them. Process clocks count nanoseconds where /proc has ticks of
 * 10 ms; what a whole core did, by anybody, only /proc knows. Include after defining _GNU_SOURCE. */
#ifndef BENCHMARKS_CLOCKS_H
#define BENCHMARKS_CLOCKS_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- latencies: a histogram whose buckets are 1/64 of their value wide ---------------------------------- */

static uint64_t buckets[4096], latencies;

static void note_latency(uint64_t nanoseconds) {
    unsigned bucket = (unsigned)nanoseconds;
    if (nanoseconds >= 128) {
        int shift = 57 - __builtin_clzll(nanoseconds);
        bucket = (unsigned)(shift + 1) * 64 + (unsigned)((nanoseconds >> shift) - 64);
    }
    buckets[bucket < 4096 ? bucket : 4095]++;
    latencies++;
}

static double latency_microseconds(double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)latencies);
    for (unsigned bucket = 0; bucket < 4096; bucket++)
        if ((seen += buckets[bucket]) > wanted) {
            unsigned shift = bucket < 128 ? 0 : bucket / 64 - 1;
            return (double)((uint64_t)(bucket < 128 ? bucket : bucket % 64 + 64) << shift) / 1000;
        }
    return 0;
}

/* ---- processor time ------------------------------------------------------------------------------------- */

struct load {
    double server, client, server_core, client_core;
};

static double clock_seconds(clockid_t clock) {
    struct timespec time = {0};
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Seconds that a core was busy with anything. */
static double core_seconds(int core) {
    char line[256], name[16];
    double busy = 0;
    FILE *file = core < 0 ? NULL : fopen("/proc/stat", "r");
    if (!file) return 0;
    snprintf(name, sizeof name, "cpu%d ", core);
    while (fgets(line, sizeof line, file)) {
        unsigned long long user, nice, system, idle, wait, interrupt, soft, steal;
        if (strncmp(line, name, strlen(name))) continue;
        if (sscanf(line + strlen(name), "%llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait,
                   &interrupt, &soft, &steal) == 8)
            busy = (double)(user + nice + system + interrupt + soft + steal) / (double)sysconf(_SC_CLK_TCK);
    }
    fclose(file);
    return busy;
}

/* What has been used up to now; 0 for a server or core that nobody named (0, -1). */
static struct load load_so_far(pid_t server, int server_core, int client_core) {
    clockid_t clock;
    struct load load = {.client = clock_seconds(CLOCK_PROCESS_CPUTIME_ID),
                        .server_core = core_seconds(server_core),
                        .client_core = core_seconds(client_core)};
    if (server && clock_getcpuclockid(server, &clock) == 0) load.server = clock_seconds(clock);
    return load;
}

#endif
