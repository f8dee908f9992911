/*
 * output.h - JSON lines to the daemon, held in memory until its pipe takes them.
 *
 * Pure ASCII: a byte outside 0x20..0x7e is written \u00XX, so a path of any bytes survives. The
 * holder stops taking input while output_pending() is over its mark: that bounds the memory.
 */
#ifndef P4CACHE_OUTPUT_H
#define P4CACHE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct output {
    char *bytes;
    size_t start;
    size_t end;
    size_t capacity;
};

/* Appends as it is. */
void output_text(struct output *out, const char *text);

/* Appends a decimal number. */
void output_number(struct output *out, int64_t number);

/* Appends a JSON string of any bytes, quotes included. */
void output_string(struct output *out, const void *bytes, size_t count);

/* Bytes that the pipe has not taken yet. */
size_t output_pending(const struct output *out);

/*
 * Writes what fd takes without waiting (fd is nonblocking). False when nobody will ever read it:
 * the daemon is gone.
 */
bool output_flush(struct output *out, int fd);

/* Writes {"t":"fatal",...} for an errno, waits until it is written, and ends with status 1. */
_Noreturn void output_fatal(int error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
