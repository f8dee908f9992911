/*
 * share.c - memory for a thread's events: private, or a memfd that the gate maps too
 * (helpers/event_buffer.h). The descriptor lives only while it is handed over.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "share.h"
#include "shim.h"
#include "socket.h"
#include "sys.h"

#define BUFFER_BYTES sizeof(struct p4cache_event_buffer)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static struct p4cache_event_buffer *map(int fd, int flags) {
    const long at = p4shim_syscall(SYS_mmap, NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, flags,
                                   (long)fd, 0L);
    return at == -1 ? NULL : (struct p4cache_event_buffer *)at;
}

struct p4cache_event_buffer *p4shim_map_private(void) {
    return map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
}

void p4shim_unmap(struct p4cache_event_buffer *buffer) {
    if (buffer != NULL) {
        p4shim_syscall(SYS_munmap, buffer, BUFFER_BYTES);
    }
}

/* One datagram with the descriptor; false when the gate did not take it. */
static bool announce(const struct p4shim_fd *memory) {
    static const char text[] = P4CACHE_EVENT_ANNOUNCE;
    struct sockaddr_un address;
    struct p4shim_fd own;
    struct p4shim_fd via;
    if (!p4shim_socket(SOCK_DGRAM, p4shim_config.access_sock, &own, &address, &via)) {
        return false;
    }
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec part = {(void *)(uintptr_t)text, sizeof text - 1};
    struct msghdr message = {.msg_name = &address,
                             .msg_namelen = sizeof address,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &memory->fd, sizeof(int));
    const bool sent = p4shim_is_ours(&own) && p4shim_is_ours(memory) &&
                      p4shim_syscall(SYS_sendmsg, own.fd, &message,
                                     MSG_DONTWAIT | MSG_NOSIGNAL) == (long)part.iov_len;
    if (via.fd >= 0) {
        p4shim_close(&via);
    }
    p4shim_close(&own);
    return sent;
}

struct p4cache_event_buffer *p4shim_map_shared(void) {
    struct p4shim_fd memory = {
        .fd = (int)p4shim_syscall(SYS_memfd_create, "p4-cache-events",
                                  MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (memory.fd < 0 || !p4shim_own(&memory)) {
        return NULL;
    }
    struct p4cache_event_buffer *buffer = NULL;
    /* ftruncate and the seals fail on what is not a memfd of ours, and change nothing then. */
    if (p4shim_is_ours(&memory) &&
        p4shim_syscall(SYS_ftruncate, memory.fd, (long)BUFFER_BYTES) == 0 &&
        p4shim_syscall(SYS_fcntl, memory.fd, F_ADD_SEALS, SEALS) == 0) {
        buffer = map(memory.fd, MAP_SHARED);
    }
    if (buffer != NULL) {
        buffer->magic = P4CACHE_EVENT_MAGIC;
        buffer->lock = P4CACHE_EVENT_PROGRAM;
        if (!announce(&memory)) {
            p4shim_unmap(buffer);
            buffer = NULL;
        }
    }
    p4shim_close(&memory);
    return buffer;
}

bool p4shim_find_gate(struct p4shim_gate *gate) {
    struct stat st;
    if (sys_fstatat(AT_FDCWD, p4shim_config.access_sock, &st, 0) != 0) {
        return false;
    }
    gate->dev = st.st_dev;
    gate->ino = st.st_ino;
    gate->ctime = st.st_ctim;
    return true;
}

bool p4shim_is_same_gate(const struct p4shim_gate *a, const struct p4shim_gate *b) {
    return a->dev == b->dev && a->ino == b->ino && a->ctime.tv_sec == b->ctime.tv_sec &&
           a->ctime.tv_nsec == b->ctime.tv_nsec;
}
