/* command.h - one line of the daemon on stdin. Pure. */
#ifndef P4CACHE_COMMAND_H
#define P4CACHE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define COMMAND_UIDS_MAX 256
/* A reply line for the shim, with its line feed. */
#define REPLY_LINE_BYTES_MAX 4608
/* Every byte of a reply as \u00XX, and the rest of the object. */
#define COMMAND_LINE_BYTES_MAX (REPLY_LINE_BYTES_MAX * 6 + 1024)

enum command_kind { COMMAND_LINE, COMMAND_LAST, COMMAND_ALLOW };

struct command {
    enum command_kind kind;
    uint64_t id;
    char reply[REPLY_LINE_BYTES_MAX]; /* LINE, LAST: bytes without a line feed */
    size_t reply_bytes;
    uid_t uids[COMMAND_UIDS_MAX]; /* ALLOW */
    size_t uid_count;
};

/*
 * A flat JSON object without white space between tokens, its keys in any order:
 *   {"t":"line","id":1,"line":"..."} {"t":"last","id":1,"line":"..."} {"t":"allow","uids":[0,1]}
 * False for anything else: the daemon and the gate are of different builds.
 */
bool command_parse(const char *line, size_t bytes, struct command *command);

#endif
