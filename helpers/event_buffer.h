/*
 * The event buffer that a thread under the shim shares with the gate.
 *
 * The shim fills it and sends it as datagrams by its own rules (docs/protocol.md). What those
 * rules leave behind in a process that goes idle, or is killed, the gate drains: it maps the buffer
 * and takes what is older than a second. No timer thread runs in the host for it, and no
 * descriptor stays open there: the mapping alone does.
 *
 * The memory is a System V segment and not a memfd: a memfd must be sized and mapped by its
 * number, and a host that closes all its descriptors and opens its own meanwhile would have its
 * database truncated and mapped. A segment never has a number in the host's table, cannot
 * shrink under its map, and, marked for removal as soon as it is attached, ends with its last user.
 *
 * The shim announces it by one datagram on access.sock: "P4CACHE/1 BUFFER <shmid>\n", in decimal.
 * Its owner is the owner of access.sock, its creator the sender. The gate checks by IPC_STAT that
 * shm_segsz is sizeof(struct p4cache_event_buffer) and shm_perm.cuid the sender's UID (it may not
 * be made to read another's), attaches it (Linux attaches what is marked for removal while
 * somebody has it; one that is gone was of a process that has ended, and sent it itself), and
 * detaches when nobody else has it attached (shm_nattch), after a last drain.
 *
 * To drain: compare-and-swap `lock` from FREE to GATE; when that fails, leave it for the next
 * round. Read `bytes` once and bound it by sizeof data (the peer may write anything at any time).
 * Copy, set `bytes` to 0, set `lock` to FREE. When nobody else has it `lock` means nothing. A
 * line may come twice, from the gate and by datagram: its id is the same.
 */
#ifndef P4CACHE_EVENT_BUFFER_H
#define P4CACHE_EVENT_BUFFER_H

#include <stdint.h>

#define P4CACHE_EVENT_ANNOUNCE "P4CACHE/1 BUFFER " /* then the shmid and LF */
#define P4CACHE_EVENT_MAGIC UINT32_C(0x34655650) /* "PVe4" */
#define P4CACHE_EVENT_AGE_MS_MAX 1000

enum { P4CACHE_EVENT_FREE = 0, P4CACHE_EVENT_PROGRAM = 1, P4CACHE_EVENT_GATE = 2 };

struct p4cache_event_buffer {
    uint32_t magic;
    uint32_t lock;     /* one of the above; changed atomically, acquire and release */
    uint32_t bytes;    /* of data: whole lines */
    uint32_t reserved; /* zero */
    int64_t oldest_ms; /* CLOCK_MONOTONIC, of the first line */
    char data[32 * 1024 - 24];
};

_Static_assert(sizeof(struct p4cache_event_buffer) == 32 * 1024, "shared by two programs");

#endif
