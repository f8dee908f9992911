/* fuzz_request.c - any bytes as a line of the shim: what is accepted, the daemon may take. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "../gate/request.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

/* The rules of a path said again, in another way: no "//", "/./", "/../" once it is in slashes. */
static int is_clean(const char *path, size_t bytes) {
    char *framed = malloc(bytes + 3);
    if (framed == NULL) {
        return 1;
    }
    framed[0] = '/';
    memcpy(framed + 1, path, bytes);
    memcpy(framed + 1 + bytes, "/", 2);
    const int clean = strlen(framed) == bytes + 2 && strstr(framed, "//") == NULL &&
                      strstr(framed, "/./") == NULL && strstr(framed, "/../") == NULL &&
                      strncmp(framed, "/.p4cache/", 10) != 0;
    free(framed);
    return clean;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes) {
    char *line = malloc(bytes + 1); /* exactly as long as it is: ASan sees a byte too far */
    if (line == NULL || bytes >= REQUEST_LINE_BYTES_MAX) {
        free(line);
        return 0;
    }
    memcpy(line, data, bytes);
    char *exact = realloc(line, bytes == 0 ? 1 : bytes);
    struct request request;
    const enum request_verdict verdict = request_parse(exact, bytes, &request);
    if (verdict == REQUEST_CONTROL) {
        if (request.path + request.path_bytes != exact + bytes || request.is_legacy ||
            strcmp(request.op, "CONTROL") != 0) {
            abort();
        }
    } else if (verdict != REQUEST_BAD) {
        const char *end = exact + bytes;
        if (request.path < exact || request.path + request.path_bytes != end ||
            is_clean(request.path, request.path_bytes) != (verdict == REQUEST_GOOD) ||
            memcmp(request.path - 1 - strlen(request.op), request.op, strlen(request.op)) != 0) {
            abort();
        }
    }
    free(exact);
    return 0;
}
