/*
 * walk.h - the records in which a walk tells what it found.
 */
#ifndef P4POSIX_WALK_H
#define P4POSIX_WALK_H

#include "posix.h"

/* A batch is a row of records. Names are relative: an entry's to the last WALK_DIRECTORY record, a
 * directory's and an unreadable thing's to the root of the walk. */
enum walk_record { WALK_DIRECTORY, WALK_ENTRY, WALK_UNREADABLE };

struct p4posix_walk_record {
    uint32_t record_bytes; /* with name and padding; a multiple of 8 */
    uint32_t name_bytes;
    uint16_t type; /* enum walk_record */
    uint16_t reserved;
    int32_t error;            /* errno of WALK_UNREADABLE */
    struct p4posix_stat stat; /* of WALK_ENTRY */
    char name[];
};
_Static_assert(sizeof(struct p4posix_walk_record) == 112, "src/posix/walk.ts reads this");

#define WALK_FLAG_RECURSE 1
#define WALK_FLAG_CROSS_DEVICES 2

#endif
