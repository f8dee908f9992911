/*
 * share.c - memory for a thread's events: private, or a segment that the gate attaches too
 * (helpers/event_buffer.h says why it is that, and no memfd).
 */
#define _GNU_SOURCE
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "share.h"
#include "shim.h"
#include "socket.h"
#include "sys.h"

#define BUFFER_BYTES sizeof(struct p4cache_event_buffer)

struct p4cache_event_buffer *p4shim_map_private(void) {
    const long at = p4shim_syscall(SYS_mmap, NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    return at == -1 ? NULL : (struct p4cache_event_buffer *)at;
}

void p4shim_unmap(struct p4cache_event_buffer *buffer) {
    if (buffer != NULL) { /* detaches a segment too */
        p4shim_syscall(SYS_munmap, buffer, BUFFER_BYTES);
    }
}

void p4shim_map_over(struct p4cache_event_buffer *buffer) {
    if (buffer != NULL) {
        p4shim_syscall(SYS_mmap, buffer, BUFFER_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0L);
    }
}

/* False when the gate did not take it. */
static bool announce(int id) {
    char text[sizeof P4CACHE_EVENT_ANNOUNCE + 24];
    struct p4shim_json line = {text, sizeof text, 0, false};
    struct sockaddr_un address;
    struct p4shim_fd own;
    struct p4shim_fd via;
    p4shim_json_raw(&line, P4CACHE_EVENT_ANNOUNCE);
    p4shim_json_number(&line, id);
    p4shim_json_raw(&line, "\n");
    if (!p4shim_socket(SOCK_DGRAM, p4shim_config.access_sock, &own, &address, &via)) {
        return false;
    }
    const bool sent = p4shim_is_ours(&own) &&
                      p4shim_syscall(SYS_sendto, own.fd, text, line.bytes,
                                     MSG_DONTWAIT | MSG_NOSIGNAL, &address,
                                     sizeof address) == (long)line.bytes;
    if (via.fd >= 0) {
        p4shim_close(&via);
    }
    p4shim_socket_end(&own);
    return sent;
}

/* The gate may run as another user than this process: it becomes the owner. */
static bool give_to(int id, const struct p4shim_gate *gate) {
    struct shmid_ds segment;
    if (p4shim_syscall(SYS_shmctl, id, IPC_STAT, &segment) != 0) {
        return false;
    }
    segment.shm_perm.uid = gate->uid;
    return p4shim_syscall(SYS_shmctl, id, IPC_SET, &segment) == 0;
}

struct p4cache_event_buffer *p4shim_map_shared(const struct p4shim_gate *gate) {
    /* The kernel tells the gate our real user, and the segment's maker is the effective one. */
    if (p4shim_syscall(SYS_getuid) != p4shim_syscall(SYS_geteuid)) {
        return NULL;
    }
    /* Where a filter refuses shmctl a segment could be made and never be removed. */
    struct shminfo limits;
    if (p4shim_syscall(SYS_shmctl, 0, IPC_INFO, &limits) < 0) {
        return NULL;
    }
    const int id = (int)p4shim_syscall(SYS_shmget, IPC_PRIVATE, BUFFER_BYTES, IPC_CREAT | 0600);
    if (id < 0) {
        return NULL;
    }
    const long at = p4shim_syscall(SYS_shmat, id, NULL, 0);
    const bool given = at != -1 && give_to(id, gate);
    /* From here on it ends with its last user, whatever happens to this process. */
    const bool is_marked = p4shim_syscall(SYS_shmctl, id, IPC_RMID, NULL) == 0;
    if (at == -1) {
        return NULL;
    }
    struct p4cache_event_buffer *buffer = (struct p4cache_event_buffer *)at;
    buffer->magic = P4CACHE_EVENT_MAGIC;
    buffer->lock = P4CACHE_EVENT_PROGRAM;
    if (!given || !is_marked || !announce(id)) {
        p4shim_unmap(buffer);
        return NULL;
    }
    return buffer;
}

bool p4shim_find_gate(struct p4shim_gate *gate) {
    struct stat st;
    if (sys_fstatat(AT_FDCWD, p4shim_config.access_sock, &st, 0) != 0) {
        return false;
    }
    gate->dev = st.st_dev;
    gate->ino = st.st_ino;
    gate->uid = st.st_uid;
    gate->ctime = st.st_ctim;
    return true;
}

bool p4shim_is_same_gate(const struct p4shim_gate *a, const struct p4shim_gate *b) {
    return a->dev == b->dev && a->ino == b->ino && a->ctime.tv_sec == b->ctime.tv_sec &&
           a->ctime.tv_nsec == b->ctime.tv_nsec;
}
