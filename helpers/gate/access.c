/* access.c - access events of the shim: datagrams whose sender the kernel names. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "gate.h"

/* The shim sends at most 32 KiB; what is cut off here is dropped whole, and counted. */
#define DATAGRAM_BYTES_MAX ((size_t)64 * 1024)
#define DATAGRAM_BATCH 32
/*
 * What one user may have the daemon read of him in a second, and at once after a silence. Events
 * come to it in one row with everybody's requests; it takes some 8 us for one, whatever its length,
 * which LINE_COST bytes stand for. Of events as the shim writes them it is 15,000 a second.
 */
#define COST_PER_S ((int64_t)8 * 1024 * 1024)
#define LINE_COST 200

static const struct ucred *credentials_of(struct msghdr *message) {
    const struct cmsghdr *control = CMSG_FIRSTHDR(message);
    if (control == NULL || control->cmsg_level != SOL_SOCKET ||
        control->cmsg_type != SCM_CREDENTIALS ||
        control->cmsg_len != CMSG_LEN(sizeof(struct ucred))) {
        return NULL;
    }
    return (const struct ucred *)(const void *)CMSG_DATA(control);
}

/* Grows with time up to a second's worth. A new one has that, as it was last used long ago. */
static struct access_budget *budget_of(struct gate *gate, uid_t uid) {
    struct access_budget *budget = &gate->budgets[gate_allowed_at(gate, uid)];
    const int64_t now_ms = gate_now_ms();
    const int64_t passed_ms = budget->at_ms == 0 ? 1000 : now_ms - budget->at_ms;
    const int64_t left = budget->left + COST_PER_S / 1000 * (passed_ms < 2000 ? passed_ms : 2000);
    budget->left = left < COST_PER_S ? left : COST_PER_S;
    budget->at_ms = now_ms;
    return budget;
}

static int64_t lines_of(const char *data, size_t bytes) {
    int64_t lines = 1;
    for (size_t i = 0; i < bytes; i++) {
        lines += data[i] == '\n';
    }
    return lines;
}

static void report(struct gate *gate, const struct ucred *sender, const char *data, size_t bytes) {
    struct output *out = &gate->out;
    output_text(out, "{\"t\":\"access\",\"uid\":");
    output_number(out, sender->uid);
    output_text(out, ",\"pid\":");
    output_number(out, sender->pid);
    output_text(out, ",\"data\":");
    output_string(out, data, bytes);
    output_text(out, "}\n");
}

bool access_may_report(struct gate *gate, uid_t uid) { return budget_of(gate, uid)->left >= 0; }

void access_report(struct gate *gate, const struct ucred *sender, const char *data, size_t bytes) {
    const size_t before = output_pending(&gate->out);
    report(gate, sender, data, bytes);
    budget_of(gate, sender->uid)->left -=
        (int64_t)(output_pending(&gate->out) - before) + LINE_COST * lines_of(data, bytes);
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
    } else if (!access_may_report(gate, sender->uid)) {
        gate->counters[COUNT_ACCESS_DROPPED]++;
    } else if (n > 0) {
        access_report(gate, sender, data, (size_t)n);
    }
    return true;
}

void access_receive(struct gate *gate) {
    for (int i = 0; i < DATAGRAM_BATCH && !gate_is_paused(gate) && receive_one(gate); i++) {
    }
}
