/*
 * The marker of an evicted file: how its size is kept in a timestamp.
 *
 * A marker is a socket inode that carries the file's name, mode, owner and mtime. Its atime holds
 * 60 bits B = (size << 12) | check, with size < 2^48:
 *
 *     atime seconds      B >> 29          31 bits: positive in every time_t, no year-2038 step
 *     atime nanoseconds  B & (2^29 - 1)   below 10^9, so utimensat takes any value
 *
 * The check tells a marker from a socket that somebody bound, and from a marker whose atime
 * somebody touched: one in 4,096 of those passes. It is no protection against intent.
 *
 * The shim and the helpers read this header; src/core/marker.ts is the same in TypeScript. The
 * golden values stand in the tests of both.
 */
#ifndef P4CACHE_MARKER_H
#define P4CACHE_MARKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#define P4CACHE_MARKER_SIZE_BITS 48
#define P4CACHE_MARKER_CHECK_BITS 12
#define P4CACHE_MARKER_NSEC_BITS 29
#define P4CACHE_MARKER_SIZE_MAX ((UINT64_C(1) << P4CACHE_MARKER_SIZE_BITS) - 1)
#define P4CACHE_MARKER_NSEC_MASK ((UINT64_C(1) << P4CACHE_MARKER_NSEC_BITS) - 1)
#define P4CACHE_MARKER_CHECK_MASK ((UINT64_C(1) << P4CACHE_MARKER_CHECK_BITS) - 1)

_Static_assert(P4CACHE_MARKER_SIZE_BITS + P4CACHE_MARKER_CHECK_BITS -
                       P4CACHE_MARKER_NSEC_BITS ==
                   31,
               "the seconds must fit a signed 32-bit time");
_Static_assert(P4CACHE_MARKER_NSEC_MASK < 1000000000, "the nanoseconds must be valid");

/* The check of a size. 0x7034 keeps a socket with atime 0 from being a marker of size 0. */
static inline uint64_t p4cache_marker_check(uint64_t size_bytes) {
    const uint64_t z = (size_bytes * UINT64_C(0x9E3779B97F4A7C15)) ^ UINT64_C(0x7034);
    return (z ^ (z >> 12) ^ (z >> 24) ^ (z >> 36) ^ (z >> 48)) & P4CACHE_MARKER_CHECK_MASK;
}

/* Writes the atime of a marker. False, and nothing written, for a size of 2^48 or more. */
static inline bool p4cache_marker_encode(uint64_t size_bytes, struct timespec *atime) {
    if (size_bytes > P4CACHE_MARKER_SIZE_MAX) {
        return false;
    }
    const uint64_t bits =
        (size_bytes << P4CACHE_MARKER_CHECK_BITS) | p4cache_marker_check(size_bytes);
    atime->tv_sec = (time_t)(bits >> P4CACHE_MARKER_NSEC_BITS);
    atime->tv_nsec = (long)(bits & P4CACHE_MARKER_NSEC_MASK);
    return true;
}

/* Reads the size back. False, and nothing written, when the check fails. */
static inline bool p4cache_marker_decode(int64_t sec, int64_t nsec, uint64_t *size_bytes) {
    if (sec < 0 || sec > INT32_MAX || nsec < 0 ||
        (uint64_t)nsec > P4CACHE_MARKER_NSEC_MASK) {
        return false;
    }
    const uint64_t bits = ((uint64_t)sec << P4CACHE_MARKER_NSEC_BITS) | (uint64_t)nsec;
    const uint64_t size = bits >> P4CACHE_MARKER_CHECK_BITS;
    if ((bits & P4CACHE_MARKER_CHECK_MASK) != p4cache_marker_check(size)) {
        return false;
    }
    *size_bytes = size;
    return true;
}

/* True for the stat of a marker; its size goes to *size_bytes. */
static inline bool p4cache_marker_of_stat(const struct stat *st, uint64_t *size_bytes) {
    return S_ISSOCK(st->st_mode) &&
                 p4cache_marker_decode(st->st_atim.tv_sec, st->st_atim.tv_nsec, size_bytes);
}

#endif
