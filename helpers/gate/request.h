/* request.h - one line of the shim protocol (docs/protocol.md): bytes in, verdict out. Pure. */
#ifndef P4CACHE_REQUEST_H
#define P4CACHE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

/* "P4CACHE/1 DELETE " + PATH_MAX and room; the line feed is part of it. */
#define REQUEST_LINE_BYTES_MAX 4608

/* GOOD: about a path. CONTROL: an operator's command, for root and the daemon's own user. */
enum request_verdict { REQUEST_GOOD, REQUEST_CONTROL, REQUEST_BAD, REQUEST_RESERVED };

struct request {
    const char *op;   /* FETCH, STAT, DELETE or CONTROL */
    const char *path; /* into the line, not ended by NUL; CONTROL: a JSON object, unread */
    size_t path_bytes;
    bool is_fetch;    /* FETCH: it may take long */
    bool is_legacy;   /* no "P4CACHE/1 " before it */
};

/* line: without its line feed. *request is filled for GOOD and CONTROL; is_legacy always. */
enum request_verdict request_parse(const char *line, size_t bytes, struct request *request);

#endif
