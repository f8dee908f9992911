/* access.c - access events of the shim: datagrams whose sender the kernel names. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "gate.h"

/* The shim sends at most 32 KiB; what is cut off here is dropped whole, and counted. */
#define DATAGRAM_BYTES_MAX ((size_t)64 * 1024)
#define DATAGRAM_BATCH 32

static const struct ucred *credentials_of(struct msghdr *message) {
    const struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (control == NULL || control->cmsg_level != SOL_SOCKET ||
        control->cmsg_type != SCM_CREDENTIALS ||
        control->cmsg_len != CMSG_LEN(sizeof(struct ucred))) {
        return NULL;
    }
    return (const struct ucred *)(const void *)CMSG_DATA(control);
}

void access_report(struct gate *gate, const struct ucred *sender, const char *data, size_t bytes) {
    struct output *out = &gate->out;
    output_text(out, "{\"t\":\"access\",\"uid\":");
    output_number(out, sender->uid);
    output_text(out, ",\"pid\":");
    output_number(out, sender->pid);
    output_text(out, ",\"data\":");
    output_string(out, data, bytes);
    output_text(out, "}\n");
}

/* False when none waits. */
static bool receive_one(struct gate *gate) {
    static char data[DATAGRAM_BYTES_MAX];
    /* Room for the credentials and nothing else: a descriptor that a sender attaches does not fit,
     * and the kernel closes it. */
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec part = {.iov_base = data, .iov_len = sizeof data};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    const ssize_t n = recvmsg(gate->access.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        return errno == EINTR;
    }
    const struct ucred *sender = credentials_of(&message);
    if (sender == NULL || !gate_is_allowed(gate, sender->uid)) {
        gate->counters[COUNT_ACCESS_REJECTED]++;
    } else if ((message.msg_flags & MSG_TRUNC) != 0) {
        gate->counters[COUNT_ACCESS_DROPPED]++;
    } else if (event_buffers_is_announcement(data, (size_t)n)) {
        event_buffers_announced(gate, sender, data, (size_t)n);
    } else if (n > 0) {
        access_report(gate, sender, data, (size_t)n);
    }
    return true;
}

void access_receive(struct gate *gate) {
    for (int i = 0; i < DATAGRAM_BATCH && !gate_is_paused(gate) && receive_one(gate); i++) {
    }
}
