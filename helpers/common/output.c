/* output.c - see output.h. */
#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAPACITY ((size_t)64 * 1024)
#define WHY_BYTES_MAX 1024

/* Makes room for count bytes. Without memory a helper cannot keep its promise to lose nothing:
 * it ends, and the daemon starts another and rescans. */
static char *reserve(struct output *out, size_t count) {
    if (out->start == out->end) {
        out->start = 0;
        out->end = 0;
    }
    if (out->capacity - out->end < count && out->start > 0) {
        memmove(out->bytes, out->bytes + out->start, out->end - out->start);
        out->end -= out->start;
        out->start = 0;
    }
    if (out->capacity - out->end < count) {
        size_t capacity = out->capacity == 0 ? FIRST_CAPACITY : out->capacity;
        while (capacity - out->end < count) {
            capacity *= 2;
        }
        char *bytes = realloc(out->bytes, capacity);
        if (bytes == NULL) {
            static const char message[] = "out of memory\n";
            (void)!write(STDERR_FILENO, message, sizeof message - 1);
            _exit(1);
        }
        out->bytes = bytes;
        out->capacity = capacity;
    }
    return out->bytes + out->end;
}

void output_text(struct output *out, const char *text) {
    const size_t count = strlen(text);
    memcpy(reserve(out, count), text, count);
    out->end += count;
}

void output_number(struct output *out, int64_t number) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    output_text(out, text);
}

void output_string(struct output *out, const void *bytes, size_t count) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    char *const begin = reserve(out, count * 6 + 2);
    char *to = begin;
    *to++ = '"';
    for (size_t i = 0; i < count; i++) {
        const unsigned char c = from[i];
        if (c >= 0x20 && c <= 0x7e && c != '"' && c != '\\') {
            *to++ = (char)c;
            continue;
        }
        memcpy(to, "\\u00", 4);
        to[4] = digits[c >> 4];
        to[5] = digits[c & 15];
        to += 6;
    }
    *to++ = '"';
    out->end += (size_t)(to - begin);
}

size_t output_pending(const struct output *out) { return out->end - out->start; }

bool output_flush(struct output *out, int fd) {
    while (output_pending(out) > 0) {
        const ssize_t written = write(fd, out->bytes + out->start, output_pending(out));
        if (written >= 0) {
            out->start += (size_t)written;
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* strerrorname_np is younger than the oldest glibc that the packages support. */
static const char *errno_name(int error) {
    static const struct {
        int error;
        const char *name;
    } names[] = {
        {EPERM, "EPERM"},         {ENOENT, "ENOENT"},     {EIO, "EIO"},
        {ENOMEM, "ENOMEM"},       {EACCES, "EACCES"},     {EEXIST, "EEXIST"},
        {EXDEV, "EXDEV"},         {ENODEV, "ENODEV"},     {ENOTDIR, "ENOTDIR"},
        {EINVAL, "EINVAL"},       {ENFILE, "ENFILE"},     {EMFILE, "EMFILE"},
        {ENOSPC, "ENOSPC"},       {EROFS, "EROFS"},       {ENAMETOOLONG, "ENAMETOOLONG"},
        {ENOSYS, "ENOSYS"},       {ELOOP, "ELOOP"},       {EPROTO, "EPROTO"},
        {EOVERFLOW, "EOVERFLOW"}, {EOPNOTSUPP, "EOPNOTSUPP"}, {EADDRINUSE, "EADDRINUSE"},
        {ESTALE, "ESTALE"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].error == error) {
            return names[i].name;
        }
    }
    return "EOTHER";
}

_Noreturn void output_fatal(int error, const char *format, ...) {
    char why[WHY_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    struct output out = {0};
    output_text(&out, "{\"t\":\"fatal\",\"code\":\"");
    output_text(&out, errno_name(error));
    output_text(&out, "\",\"why\":");
    output_string(&out, why, strlen(why));
    output_text(&out, "}\n");
    while (output_flush(&out, STDOUT_FILENO) && output_pending(&out) > 0) {
        struct pollfd writable = {.fd = STDOUT_FILENO, .events = POLLOUT};
        poll(&writable, 1, -1);
    }
    exit(1);
}
