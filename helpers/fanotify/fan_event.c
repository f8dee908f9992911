/* fan_event.c - see fan_event.h. */
#define _GNU_SOURCE
#include "fan_event.h"

#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>

_Static_assert(sizeof(struct fanotify_event_metadata) == 24, "the layout of the kernel");
_Static_assert(sizeof(struct fanotify_event_info_header) == 4, "the layout of the kernel");
_Static_assert(sizeof(__kernel_fsid_t) == sizeof(uint64_t), "the layout of the kernel");

/* fsid, file_handle with its bytes; *end is where they end in the record. */
static bool read_handle(const char *record, size_t bytes, struct fan_handle *handle, size_t *end) {
    const size_t fsid_at = sizeof(struct fanotify_event_info_header);
    const size_t handle_at = fsid_at + sizeof(__kernel_fsid_t);
    struct file_handle head;
    if (bytes < handle_at + sizeof head) {
        return false;
    }
    memcpy(&head, record + handle_at, sizeof head);
    if (head.handle_bytes > FAN_HANDLE_BYTES_MAX ||
        bytes - handle_at - sizeof head < head.handle_bytes) {
        return false;
    }
    memcpy(&handle->fsid, record + fsid_at, sizeof handle->fsid);
    handle->is_given = true;
    handle->handle = record + handle_at;
    handle->handle_bytes = sizeof head + head.handle_bytes;
    *end = handle_at + handle->handle_bytes;
    return true;
}

/* A handle, then a name with a NUL and padding. */
static bool read_name(const char *record, size_t bytes, struct fan_name *name) {
    size_t name_at;
    if (!read_handle(record, bytes, &name->directory, &name_at) || name_at == bytes) {
        return false;
    }
    name->name = record + name_at;
    const char *end = memchr(name->name, '\0', bytes - name_at);
    if (end == NULL || end == name->name) {
        return false;
    }
    name->name_bytes = (size_t)(end - name->name);
    return true;
}

static bool read_pidfd(const char *record, size_t bytes, struct fan_event *event) {
    struct fanotify_event_info_pidfd info;
    if (bytes < sizeof info) {
        return false;
    }
    memcpy(&info, record, sizeof info);
    event->pidfd = info.pidfd >= 0 ? info.pidfd : -1;
    return true;
}

/* Kinds that a later kernel adds are skipped by their length. */
static bool read_info(const char *record, size_t bytes, unsigned type, struct fan_event *event) {
    size_t end;
    switch (type) {
    case FAN_EVENT_INFO_TYPE_FID:
        return read_handle(record, bytes, &event->file, &end);
    case FAN_EVENT_INFO_TYPE_DFID_NAME:
        return read_name(record, bytes, &event->at);
    case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
        return read_name(record, bytes, &event->from);
    case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
        return read_name(record, bytes, &event->to);
    case FAN_EVENT_INFO_TYPE_PIDFD:
        return read_pidfd(record, bytes, event);
    default:
        return true;
    }
}

static bool read_infos(const char *at, const char *end, struct fan_event *event) {
    while (at < end) {
        struct fanotify_event_info_header head;
        if ((size_t)(end - at) < sizeof head) {
            return false;
        }
        memcpy(&head, at, sizeof head);
        if (head.len < sizeof head || head.len > end - at ||
            !read_info(at, head.len, head.info_type, event)) {
            return false;
        }
        at += head.len;
    }
    return true;
}

enum fan_step fan_event_next(const void *buffer, size_t bytes, size_t *offset,
                             struct fan_event *event) {
    const char *const at = (const char *)buffer + *offset;
    const size_t rest = bytes - *offset;
    struct fanotify_event_metadata head;
    if (rest == 0) {
        return FAN_STEP_END;
    }
    if (rest < sizeof head) {
        return FAN_STEP_FOREIGN;
    }
    memcpy(&head, at, sizeof head);
    if (head.vers != FANOTIFY_METADATA_VERSION || head.metadata_len < sizeof head ||
        head.event_len < head.metadata_len || head.event_len > rest) {
        return FAN_STEP_FOREIGN;
    }
    *event = (struct fan_event){
        .mask = head.mask, .pid = head.pid, .fd = head.fd >= 0 ? head.fd : -1, .pidfd = -1};
    *offset += head.event_len;
    return read_infos(at + head.metadata_len, at + head.event_len, event) ? FAN_STEP_EVENT
                                                                         : FAN_STEP_FOREIGN;
}

uint64_t fan_handle_hash(const struct fan_handle *handle) {
    const unsigned char *bytes = handle->handle;
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ handle->fsid; /* FNV-1a */
    for (size_t i = 0; i < handle->handle_bytes; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash == 0 ? 1 : hash;
}
