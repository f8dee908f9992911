/*
 * bench.c - medians of single calls, in nanoseconds, for bench.sh to compare plain and preloaded.
 *
 * Each figure is the median of ROUNDS rounds of CALLS calls: a median of single calls would
 * mostly show the clock.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 301
#define CALLS 200

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void call_open(const char *path) {
    close(open(path, O_RDONLY | O_CLOEXEC));
}

static void call_stat(const char *path) {
    struct stat st;
    stat(path, &st);
}

static void call_lookup_of_nothing(const char *path) {
    struct stat st;
    stat(path, &st);
}

static double median_of(void (*call)(const char *), const char *path) {
    static double rounds[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        const double start = now_ns();
        for (int j = 0; j < CALLS; j++) {
            call(path);
        }
        rounds[i] = (now_ns() - start) / CALLS;
    }
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    return rounds[ROUNDS / 2];
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: bench DEPOT OUTSIDE\n");
        return 2;
    }
    char hot[4096];
    char marker[4096];
    char absent[4096];
    char outside[4096];
    snprintf(hot, sizeof hot, "%s/main/hot,v", argv[1]);
    snprintf(marker, sizeof marker, "%s/main/cold,v", argv[1]);
    snprintf(absent, sizeof absent, "%s/main/absent", argv[2]);
    snprintf(outside, sizeof outside, "%s/main/hot,v", argv[2]);
    const struct {
        const char *name;
        void (*call)(const char *);
        const char *path;
    } rows[] = {
        {"hot_open", call_open, hot},           {"outside_open", call_open, outside},
        {"hot_stat", call_stat, hot},           {"outside_stat", call_stat, outside},
        {"marker_stat", call_stat, marker},     {"absent_stat", call_lookup_of_nothing, absent},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        printf("%s %.0f\n", rows[i].name, median_of(rows[i].call, rows[i].path));
    }
    if (chdir(argv[1]) == 0) {
        printf("relative_hot_open %.0f\n", median_of(call_open, "main/hot,v"));
        printf("relative_marker_stat %.0f\n", median_of(call_stat, "main/cold,v"));
    }
    return 0;
}
