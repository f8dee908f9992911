/*
 * watcher.c - p4-cache-fanotify: tells the daemon what changes in the depot.
 *
 *   p4-cache-fanotify --root DIR [--root DIR2 ...] [--mode auto|fid|content] [--limited-queue]
 *
 * It holds CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH so that the daemon need not: it decides nothing
 * and opens nothing by a name that an event gave. Marks are on file systems: a mark on a mount sees
 * nothing from another mount namespace, and does not say so.
 *
 * One group with names of directories (kernel 5.9) keeps closes, renames and deletes in order.
 * Where the kernel or the file system cannot, a group with descriptors reports closes alone, and
 * "ready" says "content". --limited-queue keeps the kernel's limit of events, to test
 * what is told of an overflow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/confine.h"
#include "report.h"
#include "survey.h"

/* Above this many bytes for the daemon no event is read; the kernel's queue holds them. */
#define OUTPUT_PENDING_MAX ((size_t)1024 * 1024)
#define READ_BYTES ((size_t)256 * 1024)

enum mode { MODE_AUTO, MODE_FID, MODE_CONTENT };

struct options {
    enum mode mode;
    bool is_bounded;
};

/* ---- the group ---------------------------------------------------------------------- */

static int make_group(const struct options *options, unsigned flags) {
    flags |= FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_MARKS;
    flags |= options->is_bounded ? 0 : FAN_UNLIMITED_QUEUE;
    return fanotify_init(flags, O_RDONLY | O_LARGEFILE | O_CLOEXEC | O_NOATIME);
}

/* The first of the sets of flags that the kernel knows; the last one is 0. */
static int make_group_of(struct watcher *watcher, const struct options *options, unsigned base,
                         const unsigned *optional) {
    for (;; optional++) {
        const int fd = make_group(options, base | *optional);
        watcher->has_pidfd = (*optional & FAN_REPORT_PIDFD) != 0;
        if (fd >= 0 || errno != EINVAL || *optional == 0) {
            return fd;
        }
    }
}

static bool mark_all(const struct watcher *watcher, uint64_t mask) {
    for (size_t i = 0; i < watcher->roots.count; i++) {
        if (fanotify_mark(watcher->fan_fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, mask,
                          watcher->roots.root[i].fd, NULL) != 0) {
            return false;
        }
    }
    return true;
}

/* FAN_CREATE: a name that link(2) makes is told by nothing else. */
static bool open_fid(struct watcher *watcher, const struct options *options) {
    /* Handles of the files themselves from 5.17, descriptors of processes from 5.15. */
    static const unsigned optional[] = {
        FAN_REPORT_FID | FAN_REPORT_TARGET_FID | FAN_REPORT_PIDFD, FAN_REPORT_PIDFD, 0};
    const uint64_t mask = FAN_CLOSE_WRITE | FAN_CREATE | FAN_DELETE | FAN_ONDIR;
    watcher->is_content = false;
    watcher->fan_fd =
        make_group_of(watcher, options, FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME, optional);
    if (watcher->fan_fd < 0) {
        return false;
    }
    watcher->has_rename = mark_all(watcher, mask | FAN_RENAME);
    return watcher->has_rename ||
           (errno == EINVAL && mark_all(watcher, mask | FAN_MOVED_FROM | FAN_MOVED_TO));
}

static bool open_content(struct watcher *watcher, const struct options *options) {
    static const unsigned optional[] = {FAN_REPORT_PIDFD, 0};
    watcher->is_content = true;
    watcher->has_rename = false;
    watcher->fan_fd = make_group_of(watcher, options, FAN_CLASS_CONTENT, optional);
    return watcher->fan_fd >= 0 && mark_all(watcher, FAN_CLOSE_WRITE);
}

/* Whether the kernel or the file system cannot report names, which another mode may survive. */
static bool is_unsupported(int error) {
    return error == EINVAL || error == EOPNOTSUPP || error == ENODEV || error == EXDEV;
}

_Noreturn static void refuse(const struct watcher *watcher, int error) {
    if (error == EPERM || error == EACCES) {
        output_fatal(error, "Cannot watch \"%s\": p4-cache-fanotify needs the capabilities "
                            "CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH (see setcap(8) and docs/operations.md)",
                     watcher->roots.root[0].real);
    }
    output_fatal(error, "Cannot watch \"%s\": %s", watcher->roots.root[0].real, strerror(error));
}

/* Resolving handles needs a capability of its own: tried now, not at the first event. */
static void try_handle(const struct watcher *watcher, const struct root *root) {
    union {
        struct file_handle head;
        char bytes[sizeof(struct file_handle) + FAN_HANDLE_BYTES_MAX];
    } handle = {.head.handle_bytes = FAN_HANDLE_BYTES_MAX};
    int mount_id;
    if (name_to_handle_at(root->fd, "", &handle.head, &mount_id, AT_EMPTY_PATH) != 0) {
        refuse(watcher, errno);
    }
    const int fd = open_by_handle_at(root->fd, &handle.head, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        refuse(watcher, errno);
    }
    close(fd);
}

static void open_group(struct watcher *watcher, const struct options *options) {
    bool is_open = options->mode != MODE_CONTENT && open_fid(watcher, options);
    if (options->mode == MODE_CONTENT || (options->mode == MODE_AUTO && !is_open &&
                                          is_unsupported(errno))) {
        if (watcher->fan_fd >= 0) {
            close(watcher->fan_fd);
        }
        is_open = open_content(watcher, options);
    }
    if (!is_open) {
        refuse(watcher, errno);
    }
    for (size_t i = 0; i < watcher->roots.count && !watcher->is_content; i++) {
        try_handle(watcher, &watcher->roots.root[i]);
    }
}

/* ---- privileges --------------------------------------------------------------------- */

static void set_capabilities(uint32_t permitted, uint32_t effective) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    sets[0].permitted = permitted;
    sets[0].effective = effective;
    if (syscall(SYS_capset, &head, sets) != 0) {
        output_fatal(errno, "Cannot give up capabilities: %s", strerror(errno));
    }
}

/* Both, if the file has them: what is missing is told when it is needed. */
static uint32_t wanted_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capget, &head, sets) != 0) {
        output_fatal(errno, "Cannot read capabilities: %s", strerror(errno));
    }
    return sets[0].permitted & (1U << CAP_SYS_ADMIN | 1U << CAP_DAC_READ_SEARCH);
}

/* The marks are made: of all capabilities only the one that resolves handles and finds owners. */
static void keep_one_capability(void) {
    set_capabilities(1U << CAP_DAC_READ_SEARCH, 1U << CAP_DAC_READ_SEARCH);
}

/* ---- the loop ----------------------------------------------------------------------- */

static void report_ready(struct watcher *watcher) {
    struct output *out = &watcher->out;
    output_text(out, "{\"t\":\"ready\",\"mode\":");
    output_text(out, watcher->is_content ? "\"content\"" : "\"fid\"");
    output_text(out, watcher->has_rename ? ",\"rename\":true" : ",\"rename\":false");
    output_text(out, watcher->has_pidfd ? ",\"pidfd\":true}\n" : ",\"pidfd\":false}\n");
}

static void read_events(struct watcher *watcher) {
    static _Alignas(8) char buffer[READ_BYTES];
    const ssize_t bytes = read(watcher->fan_fd, buffer, sizeof buffer);
    if (bytes > 0) {
        report_all(watcher, buffer, (size_t)bytes);
        return;
    }
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    /* Content mode: no descriptor for a file (EMFILE, EACCES, ETXTBSY ...). The event is gone. */
    const int error = bytes == 0 ? EIO : errno;
    if (!watcher->is_content || error == EIO || error == EBADF || error == EINVAL) {
        output_fatal(error, "Cannot read events: %s", strerror(error));
    }
    output_text(&watcher->out, "{\"t\":\"lost\",\"why\":\"no descriptor for an event\"}\n");
}

/* False at end of file. What the daemon writes means nothing. */
static bool is_wanted(void) {
    char ignored[256];
    const ssize_t bytes = read(STDIN_FILENO, ignored, sizeof ignored);
    return bytes > 0 || (bytes < 0 && (errno == EAGAIN || errno == EINTR));
}

static void run(struct watcher *watcher, bool is_surveying) {
    for (;;) {
        const bool is_paused = output_pending(&watcher->out) > OUTPUT_PENDING_MAX;
        struct pollfd fds[3] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                {.fd = STDOUT_FILENO},
                                {.fd = is_paused ? -1 : watcher->fan_fd, .events = POLLIN}};
        fds[1].events = output_pending(&watcher->out) > 0 ? POLLOUT : 0;
        if (poll(fds, 3, is_surveying ? 0 : -1) < 0 && errno != EINTR) {
            output_fatal(errno, "Cannot wait: %s", strerror(errno));
        }
        if (fds[0].revents != 0 && !is_wanted()) {
            return;
        }
        if (fds[2].revents != 0) {
            read_events(watcher);
        }
        if ((fds[1].revents & POLLERR) != 0 || !output_flush(&watcher->out, STDOUT_FILENO)) {
            return; /* the daemon is gone */
        }
        is_surveying = is_surveying && survey_step(&watcher->roots);
    }
}

/* ---- start -------------------------------------------------------------------------- */

static enum mode mode_of(const char *text) {
    static const char *const names[] = {
        [MODE_AUTO] = "auto", [MODE_FID] = "fid", [MODE_CONTENT] = "content"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], text) == 0) {
            return (enum mode)i;
        }
    }
    output_fatal(EINVAL, "Cannot use --mode \"%s\": auto, fid or content is wanted", text);
}

static void read_options(struct watcher *watcher, struct options *options, int argc, char **argv) {
    static const struct option known[] = {
        {"root", required_argument, NULL, 'r'},
        {"mode", required_argument, NULL, 'm'},
        {"limited-queue", no_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int letter;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 'r') {
            roots_add(&watcher->roots, optarg);
        } else if (letter == 'm') {
            options->mode = mode_of(optarg);
        } else if (letter == 'b') {
            options->is_bounded = true;
        } else {
            output_fatal(EINVAL, "Cannot read the options: it is started by the daemon");
        }
    }
    if (watcher->roots.count == 0 || optind != argc) {
        output_fatal(EINVAL, "Cannot start: --root is wanted");
    }
}

int main(int argc, char **argv) {
    static struct watcher watcher = {.fan_fd = -1};
    struct options options = {.mode = MODE_AUTO};
    confine_process();
    /* A user opens roots with his own rights: what he may not enter, he is told nothing of. */
    const bool is_user = getuid() != 0;
    const uint32_t capabilities = is_user ? wanted_capabilities() : 0;
    if (is_user) {
        set_capabilities(capabilities, 0);
    }
    read_options(&watcher, &options, argc, argv);
    if (is_user) {
        set_capabilities(capabilities, capabilities);
    }
    open_group(&watcher, &options);
    keep_one_capability();
    survey_begin(&watcher.roots);
    const bool is_surveying = !watcher.is_content && survey_step(&watcher.roots);
    report_ready(&watcher);
    run(&watcher, is_surveying);
    return 0;
}
