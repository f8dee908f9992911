/*
 * bench_stat.c - how long single stat calls take that the daemon is asked for: bench_stat PATH
 * CALLS [PAUSE_US]. Each call is timed alone. With CALLS 0 it goes on until SIGTERM. Prints count,
 * median and 99th percentile in microseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CALLS_MAX 2000000

static volatile sig_atomic_t has_ended;

static void on_term(int signal_number) {
    (void)signal_number;
    has_ended = 1;
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static double us[CALLS_MAX];
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: bench_stat PATH CALLS [PAUSE_US]\n");
        return 2;
    }
    signal(SIGTERM, on_term);
    const size_t wanted = (size_t)strtoul(argv[2], NULL, 10);
    const useconds_t pause_us = argc == 4 ? (useconds_t)strtoul(argv[3], NULL, 10) : 0;
    size_t count = 0;
    while (!has_ended && count < CALLS_MAX && (wanted == 0 || count < wanted)) {
        struct stat st;
        const double start = now_us();
        const int rc = stat(argv[1], &st);
        us[count++] = now_us() - start;
        if (rc == 0 || errno != ENOENT) {
            fprintf(stderr, "%s is not an absent name of the depot\n", argv[1]);
            return 1;
        }
        if (pause_us > 0) {
            usleep(pause_us);
        }
    }
    qsort(us, count, sizeof *us, by_value);
    printf("%zu %.1f %.1f\n", count, us[count / 2], us[count * 99 / 100]);
    return 0;
}
