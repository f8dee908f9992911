/*
 * gate.c - p4-cache-gate: between the shims and the daemon.
 *
 * Owns shim.sock and access.sock. It asks the kernel who a peer is, reads what the peer sends, and
 * hands the daemon whole requests of allowed peers as JSON lines; so hostile bytes are parsed in a
 * process that holds no keys and can do nothing. It decides nothing about files.
 *
 *   p4-cache-gate --shim-sock P --access-sock P --socket-mode 0660 --max-requests 1024
 *                 --allow-uid U ... [--line-timeout-ms 5000] [--max-buffers 4096]
 *
 * Two levels of waiting: poll() on stdin, stdout and one epoll that holds all peers. When the
 * daemon does not read, the epoll is left out, and so every peer at once; the daemon's commands
 * never are.
 */
#define _GNU_SOURCE
#include "gate.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "../common/confine.h"
#include "table.h"

#define EVENT_BATCH 64
#define SWEEPS_PER_TIMEOUT 8
#define SWEEP_MS_MAX 1000 /* who waits for his turn is told so every few seconds */
#define LINE_TIMEOUT_MS 5000

static const char *const counter_names[COUNTERS] = {
    [COUNT_REJECTED_PEER] = "rejected_peer",     [COUNT_LEGACY_UNPREFIXED] = "legacy_unprefixed",
    [COUNT_BAD_REQUEST] = "bad_request",         [COUNT_TURNED_AWAY] = "turned_away",
    [COUNT_ACCESS_REJECTED] = "access_rejected", [COUNT_ACCESS_DROPPED] = "access_dropped",
    [COUNT_TIMEOUT] = "timeout",
};

int64_t gate_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

size_t gate_allowed_at(const struct gate *gate, uid_t uid) {
    size_t at = 0;
    while (at < gate->allowed_count && gate->allowed[at] != uid) {
        at++;
    }
    return at;
}

bool gate_is_allowed(const struct gate *gate, uid_t uid) {
    return gate_allowed_at(gate, uid) < gate->allowed_count;
}

bool gate_is_paused(const struct gate *gate) {
    return output_pending(&gate->out) > OUTPUT_PENDING_MAX;
}

/* One line for each counter that moved, however often: a flood of refusals is no flood of lines. */
static void report_counters(struct gate *gate) {
    for (size_t i = 0; i < COUNTERS; i++) {
        if (gate->counters[i] != 0 && !gate_is_paused(gate)) {
            output_text(&gate->out, "{\"t\":\"count\",\"name\":\"");
            output_text(&gate->out, counter_names[i]);
            output_text(&gate->out, "\",\"n\":");
            output_number(&gate->out, gate->counters[i]);
            output_text(&gate->out, "}\n");
            gate->counters[i] = 0;
        }
    }
}

static void obey(struct gate *gate, const char *line, size_t bytes) {
    static struct command command;
    if (!command_parse(line, bytes, &command)) {
        output_fatal(EPROTO, "Cannot read the daemon's command: gate and daemon are of one build");
    }
    if (command.kind == COMMAND_ALLOW) {
        memcpy(gate->allowed, command.uids, sizeof gate->allowed);
        gate->allowed_count = command.uid_count;
        memset(gate->budgets, 0, sizeof gate->budgets); /* of others */
    } else {
        connections_reply(gate, &command);
    }
}

/* False at end of file. */
static bool read_commands(struct gate *gate) {
    static char buffer[2 * COMMAND_LINE_BYTES_MAX];
    static size_t held;
    const ssize_t n = read(STDIN_FILENO, buffer + held, sizeof buffer - held);
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN;
    }
    held += (size_t)n;
    const char *line = buffer;
    for (const char *end; (end = memchr(line, '\n', (size_t)(buffer + held - line))) != NULL;) {
        obey(gate, line, (size_t)(end - line));
        line = end + 1;
    }
    held -= (size_t)(line - buffer);
    memmove(buffer, line, held);
    if (held == sizeof buffer) {
        output_fatal(EPROTO, "Cannot read the daemon's command: it is too long");
    }
    return n > 0;
}

static void serve_peers(struct gate *gate) {
    struct epoll_event events[EVENT_BATCH];
    const int count = epoll_wait(gate->inputs_fd, events, EVENT_BATCH, 0);
    for (int i = 0; i < count; i++) {
        if (gate_is_paused(gate)) {
            return; /* level-triggered: the rest is told again */
        }
        if (events[i].data.u64 == GATE_ID_ACCESS) {
            access_receive(gate);
        } else if (events[i].data.u64 == GATE_ID_TICK) {
            event_buffers_tick(gate);
        } else {
            connections_event(gate, events[i].data.u64, events[i].events);
        }
    }
}

static bool needs_sweeps(const struct gate *gate) {
    return (gate->timed > 0 || !gate->is_accepting) && !gate_is_paused(gate);
}

static int64_t sweep_ms(const struct gate *gate) {
    const int64_t wanted_ms = gate->line_timeout_ms / SWEEPS_PER_TIMEOUT;
    return wanted_ms < SWEEP_MS_MAX ? wanted_ms : SWEEP_MS_MAX;
}

static void sweep_when_due(struct gate *gate) {
    if (needs_sweeps(gate) && gate_now_ms() >= gate->next_sweep_ms) {
        connections_sweep(gate);
        gate->next_sweep_ms = gate_now_ms() + sweep_ms(gate);
    }
}

static void run(struct gate *gate) {
    for (;;) {
        struct pollfd fds[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = STDOUT_FILENO},
                                {.fd = gate->inputs_fd, .events = POLLIN}};
        fds[1].events = output_pending(&gate->out) > 0 ? POLLOUT : 0;
        fds[2].fd = gate_is_paused(gate) ? -1 : gate->inputs_fd;
        const int wait_ms = needs_sweeps(gate) ? (int)sweep_ms(gate) + 1 : -1;
        if (poll(fds, 3, wait_ms) < 0 && errno != EINTR) {
            output_fatal(errno, "Cannot wait: %s", strerror(errno));
        }
        if (fds[0].revents != 0 && !read_commands(gate)) {
            return;
        }
        if (fds[2].revents != 0) {
            serve_peers(gate);
        }
        sweep_when_due(gate);
        connections_dispatch(gate);
        report_counters(gate);
        if ((fds[1].revents & POLLERR) != 0 || !output_flush(&gate->out, STDOUT_FILENO)) {
            return; /* the daemon is gone */
        }
    }
}

/* ---- start -------------------------------------------------------------------------- */

struct options {
    const char *shim_sock;
    const char *access_sock;
    mode_t socket_mode;
};

static uint64_t number_of(const char *name, const char *text, int base, uint64_t min,
                          uint64_t max) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, base);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < min || value > max) {
        output_fatal(EINVAL, "Cannot use --%s \"%s\": a number from %llu to %llu is wanted", name,
                     text, (unsigned long long)min, (unsigned long long)max);
    }
    return value;
}

static void allow(struct gate *gate, const char *text) {
    if (gate->allowed_count == COMMAND_UIDS_MAX) {
        output_fatal(EINVAL, "Cannot allow more than %d users", COMMAND_UIDS_MAX);
    }
    gate->allowed[gate->allowed_count++] =
        (uid_t)number_of("allow-uid", text, 10, 0, UINT32_MAX);
}

static void read_option(struct gate *gate, struct options *options, int letter) {
    switch (letter) {
    case 's':
        options->shim_sock = optarg;
        break;
    case 'a':
        options->access_sock = optarg;
        break;
    case 'm':
        options->socket_mode = (mode_t)number_of("socket-mode", optarg, 8, 0, 0777);
        break;
    case 'r':
        gate->requests_max = (uint32_t)number_of("max-requests", optarg, 10, 1, REQUESTS_MAX);
        break;
    case 'u':
        allow(gate, optarg);
        break;
    case 't':
        gate->line_timeout_ms = (int64_t)number_of("line-timeout-ms", optarg, 10, 1, 3600000);
        break;
    case 'b':
        gate->buffers.count_max =
            (uint32_t)number_of("max-buffers", optarg, 10, 0, EVENT_BUFFERS_MAX);
        break;
    default:
        output_fatal(EINVAL, "Cannot read the options: it is started by the daemon");
    }
}

static void read_options(struct gate *gate, struct options *options, int argc, char **argv) {
    static const struct option known[] = {
        {"shim-sock", required_argument, NULL, 's'},
        {"access-sock", required_argument, NULL, 'a'},
        {"socket-mode", required_argument, NULL, 'm'},
        {"max-requests", required_argument, NULL, 'r'},
        {"allow-uid", required_argument, NULL, 'u'},
        {"line-timeout-ms", required_argument, NULL, 't'},
        {"max-buffers", required_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        read_option(gate, options, letter);
    }
    if (options->shim_sock == NULL || options->access_sock == NULL || optind != argc) {
        output_fatal(EINVAL, "Cannot start: --shim-sock and --access-sock are wanted");
    }
}

int main(int argc, char **argv) {
    static struct gate gate = {.requests_max = 1024,
                               .line_timeout_ms = LINE_TIMEOUT_MS,
                               .buffers.count_max = EVENT_BUFFERS_MAX};
    struct options options = {.socket_mode = 0660};
    confine_process();
    read_options(&gate, &options, argc, argv);
    gate.inputs_fd = epoll_create1(EPOLL_CLOEXEC);
    if (gate.inputs_fd < 0) {
        output_fatal(errno, "Cannot make an epoll: %s", strerror(errno));
    }
    listener_open(&gate.shim, SOCK_STREAM, options.shim_sock, options.socket_mode);
    listener_open(&gate.access, SOCK_DGRAM, options.access_sock, options.socket_mode);
    table_open(&gate);
    table_watch(&gate, EPOLL_CTL_ADD, gate.access.fd, GATE_ID_ACCESS, EPOLLIN);
    event_buffers_open(&gate);
    output_text(&gate.out, "{\"t\":\"ready\"}\n");
    run(&gate);
    listener_close(&gate.shim);
    listener_close(&gate.access);
    return 0;
}
