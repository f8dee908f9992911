/*
 * bytes.c - contents: bytes that follow from a seed, their hash, and what a stat says.
 */
#include "actor.h"

void fill(unsigned char *out, size_t bytes, unsigned long seed) {
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < bytes; i++) {
        if (i % 8 == 0) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        out[i] = (unsigned char)(state >> (i % 8 * 8));
    }
}

uint64_t hash_bytes(uint64_t hash, const unsigned char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

bool write_all(int fd, const void *bytes, size_t count) {
    const char *at = bytes;
    while (count > 0) {
        const ssize_t n = write(fd, at, count);
        if (n < 0) {
            return false;
        }
        at += n;
        count -= (size_t)n;
    }
    return true;
}

bool write_pattern(struct actor *a, const char *what, int fd, size_t bytes, unsigned long seed) {
    unsigned char *buffer = malloc(bytes + 1);
    fill(buffer, bytes, seed);
    const bool is_good = TRY(a, what, write_all(fd, buffer, bytes) ? 0 : -1);
    free(buffer);
    return is_good;
}

bool say_content(struct actor *a, int fd) {
    unsigned char buffer[65536];
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    long total = 0;
    for (;;) {
        ssize_t n = 0;
        if (stops_here(a, "read")) {
            return false;
        }
        n = pread(fd, buffer, sizeof buffer, total);
        if (n < 0) {
            return note_step(a, "read", -1);
        }
        if (n == 0) {
            break;
        }
        hash = hash_bytes(hash, buffer, (size_t)n);
        total += n;
    }
    say(a, " %ld:%llx", total, (unsigned long long)hash);
    return note_step(a, "read", 0);
}

/* Times that a script sets lie before 2020: they are told. The clock's are not. */
#define CLOCK_FROM 1577836800

void say_stat(struct actor *a, const struct stat *st, bool with_links) {
    say(a, " [%o %u:%u", st->st_mode, st->st_uid, st->st_gid);
    if (S_ISREG(st->st_mode)) {
        say(a, " %lld", (long long)st->st_size);
        if (with_links) {
            say(a, " x%lu", (unsigned long)st->st_nlink);
        }
        if (st->st_mtim.tv_sec < CLOCK_FROM) {
            say(a, " %lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
        }
    }
    say(a, "]");
}
