/*
 * report.c - see report.h.
 *
 * Each line is a hint that something may have changed under a name; the daemon looks afresh.
 * Events of one name that wait in the queue are merged by the kernel, so one event may say deleted
 * and closed: the closing is told last, because what is there now was closed.
 */
#define _GNU_SOURCE
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "directories.h"
#include "writer.h"

#define SEEN 65536

static void put_path(struct output *out, const char *key, const struct depot_path *path) {
    output_text(out, key);
    if (path == NULL) {
        output_text(out, "null");
    } else {
        output_string(out, path->text, path->bytes);
    }
}

static void put_writer(struct output *out, const struct fan_event *event,
                       const struct writer *writer) {
    output_text(out, ",\"pid\":");
    output_number(out, event->pid);
    output_text(out, ",\"uid\":");
    if (writer->auth == WRITER_NONE || writer->auth == WRITER_OTHER) {
        output_text(out, "null");
    } else {
        output_number(out, writer->uid);
    }
    output_text(out, ",\"auth\":\"");
    output_text(out, writer_auth_name(writer->auth));
    output_text(out, "\"}\n");
}

static void put_dir(struct output *out, const struct fan_event *event) {
    output_text(out, (event->mask & FAN_ONDIR) != 0 ? ",\"dir\":true" : ",\"dir\":false");
}

/* The inode number as text: a number of JSON holds 53 bits. Markers are sockets. */
static void put_renamed(struct watcher *watcher, const struct fan_event *event) {
    struct stat st;
    if (!directories_stat(&watcher->roots, &event->file, &st)) {
        output_text(&watcher->out, ",\"ino\":null,\"other\":false");
        return;
    }
    const bool is_other = !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode) && !S_ISDIR(st.st_mode);
    char text[64];
    snprintf(text, sizeof text, ",\"ino\":\"%llu\",\"other\":%s", (unsigned long long)st.st_ino,
             is_other ? "true" : "false");
    output_text(&watcher->out, text);
}

/* An event that cannot be given a name may be any: the daemon rescans. */
static void report_lost(struct watcher *watcher, int error) {
    const char *why = strerror(error);
    output_text(&watcher->out, "{\"t\":\"lost\",\"why\":");
    output_string(&watcher->out, why, strlen(why));
    output_text(&watcher->out, "}\n");
}

/* Files that recent events were about. A collision forgets one: then one name too many is told. */
struct seen {
    uint64_t hash;
    pid_t maker; /* 0: its first event here is of another kind */
};

static struct seen *slot_of(uint64_t hash) {
    static struct seen seen[SEEN];
    return &seen[hash % SEEN];
}

/* Whether the file was in an event before. Its first one says who made it, or has linked it. */
static bool was_seen(const struct fan_event *event) {
    if (!event->file.is_given) {
        return false;
    }
    const uint64_t hash = fan_handle_hash(&event->file);
    struct seen *const slot = slot_of(hash);
    if (slot->hash == hash) {
        return true;
    }
    *slot = (struct seen){.hash = hash, .maker = (event->mask & FAN_CREATE) != 0 ? event->pid : 0};
    return false;
}

/* Whether the process of this event has made the file that it is about; or linked an older one. */
static bool is_makers(const struct fan_event *event) {
    if (!event->file.is_given) {
        return false;
    }
    const uint64_t hash = fan_handle_hash(&event->file);
    const struct seen *const slot = slot_of(hash);
    return slot->hash == hash && slot->maker > 0 && slot->maker == event->pid;
}

static struct writer writer_at(const struct watcher *watcher, const struct fan_event *event,
                               const struct depot_path *path) {
    const struct written_at place = {.directory_fd = watcher->roots.root[0].fd,
                                     .path = path == NULL ? NULL : path->text,
                                     .is_makers = is_makers(event)};
    return writer_of(event, watcher->has_pidfd, &place);
}

static void report_close(struct watcher *watcher, const struct fan_event *event,
                         const struct depot_path *path, const struct writer *writer) {
    put_path(&watcher->out, "{\"t\":\"close\",\"path\":", path);
    put_writer(&watcher->out, event, writer);
}

static void report_delete(struct watcher *watcher, const struct fan_event *event,
                          const struct depot_path *path) {
    const struct writer writer = writer_at(watcher, event, NULL);
    put_path(&watcher->out, "{\"t\":\"delete\",\"path\":", path);
    put_dir(&watcher->out, event);
    put_writer(&watcher->out, event, &writer);
}

/* from, to: NULL when outside the depot, or not told by the kernel. */
static void report_move(struct watcher *watcher, const struct fan_event *event,
                        const struct depot_path *from, const struct depot_path *to) {
    const struct writer writer = writer_at(watcher, event, to);
    put_path(&watcher->out, "{\"t\":\"move\",\"from\":", from);
    put_path(&watcher->out, ",\"to\":", to);
    put_renamed(watcher, event);
    put_dir(&watcher->out, event);
    put_writer(&watcher->out, event, &writer);
}

/*
 * A name that link(2) made is told as a move from outside: no closing follows. The names that
 * open(2) makes are not told: such a file was in no event before (kernel 5.17), and has no other
 * name. Not seen so: an O_TMPFILE that is given its first name; the next scan finds it.
 */
static bool is_linked(const struct watcher *watcher, const struct depot_path *path, bool is_known) {
    struct stat st;
    return fstatat(watcher->roots.root[0].fd, path->text, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && (is_known || st.st_nlink > 1);
}

/* Of kernels without FAN_RENAME the halves of a move come apart: then all are resolved anew. */
static void keep_directories(const struct fan_event *event, const struct depot_path *path) {
    if ((event->mask & FAN_ONDIR) == 0) {
        return;
    }
    if ((event->mask & (FAN_MOVED_FROM | FAN_MOVED_TO)) != 0) {
        directories_forget_all();
    } else if ((event->mask & FAN_DELETE) != 0) {
        directories_forget(&event->file);
    } else if ((event->mask & FAN_CREATE) != 0) {
        directories_learn(&event->file, path);
    }
}

static void report_at(struct watcher *watcher, const struct fan_event *event) {
    struct depot_path path;
    const bool is_known = was_seen(event);
    const enum place place = directories_find(&watcher->roots, &event->at, &path);
    if (place == PLACE_UNKNOWN) {
        report_lost(watcher, errno);
    }
    if (place != PLACE_INSIDE) {
        return;
    }
    keep_directories(event, &path);
    if ((event->mask & FAN_DELETE) != 0) {
        report_delete(watcher, event, &path);
    }
    if ((event->mask & FAN_MOVED_FROM) != 0) {
        report_move(watcher, event, &path, NULL);
    }
    if ((event->mask & FAN_MOVED_TO) != 0) {
        report_move(watcher, event, NULL, &path);
    }
    if ((event->mask & FAN_CLOSE_WRITE) != 0) {
        const struct writer writer = writer_at(watcher, event, &path);
        report_close(watcher, event, &path, &writer);
    } else if ((event->mask & FAN_CREATE) != 0 && (event->mask & FAN_ONDIR) == 0 &&
               is_linked(watcher, &path, is_known)) {
        report_move(watcher, event, NULL, &path);
    }
}

static void report_rename(struct watcher *watcher, const struct fan_event *event) {
    struct depot_path from;
    struct depot_path to;
    const enum place from_place = directories_find(&watcher->roots, &event->from, &from);
    const int from_error = errno;
    const enum place to_place = directories_find(&watcher->roots, &event->to, &to);
    if (from_place == PLACE_UNKNOWN || to_place == PLACE_UNKNOWN) {
        report_lost(watcher, from_place == PLACE_UNKNOWN ? from_error : errno);
    }
    if (from_place != PLACE_INSIDE && to_place != PLACE_INSIDE) {
        return;
    }
    const struct depot_path *const out = from_place == PLACE_INSIDE ? &from : NULL;
    const struct depot_path *const in = to_place == PLACE_INSIDE ? &to : NULL;
    if ((event->mask & FAN_ONDIR) != 0) {
        directories_move(&event->file, out, in);
    }
    report_move(watcher, event, out, in);
}

/* Content mode: the name is what the file is called now. */
static void report_descriptor(struct watcher *watcher, const struct fan_event *event) {
    char absolute[PATH_MAX];
    struct depot_path path;
    if (event->fd < 0) {
        report_lost(watcher, EBADF);
        return;
    }
    if (!roots_name_of(event->fd, absolute)) {
        if (errno != ENOENT && errno != ENAMETOOLONG) {
            report_lost(watcher, errno);
        }
        return;
    }
    for (size_t i = 0; i < watcher->roots.count; i++) {
        if (roots_translate(&watcher->roots, i, absolute, &path) &&
            roots_is_told(&watcher->roots, &path)) {
            const struct written_at place = {.directory_fd = event->fd, .path = ""};
            const struct writer writer = writer_of(event, watcher->has_pidfd, &place);
            report_close(watcher, event, &path, &writer);
            return;
        }
    }
}

/* After these a root may be elsewhere. */
static bool moves_directories(const struct fan_event *event) {
    return (event->mask & FAN_Q_OVERFLOW) != 0 ||
           ((event->mask & FAN_ONDIR) != 0 &&
            (event->mask & (FAN_RENAME | FAN_MOVED_FROM | FAN_MOVED_TO)) != 0);
}

static void report_one(struct watcher *watcher, const struct fan_event *event) {
    if ((event->mask & FAN_Q_OVERFLOW) != 0) {
        output_text(&watcher->out, "{\"t\":\"overflow\"}\n");
    } else if (watcher->is_content) {
        report_descriptor(watcher, event);
    } else if ((event->mask & FAN_RENAME) != 0) {
        report_rename(watcher, event);
    } else {
        report_at(watcher, event);
    }
    if ((event->mask & FAN_Q_OVERFLOW) != 0) {
        directories_forget_all();
    }
    if (moves_directories(event)) {
        roots_check(&watcher->roots);
    }
}

void report_all(struct watcher *watcher, const void *buffer, size_t bytes) {
    struct fan_event event;
    size_t offset = 0;
    enum fan_step step;
    while ((step = fan_event_next(buffer, bytes, &offset, &event)) == FAN_STEP_EVENT) {
        report_one(watcher, &event);
        if (event.pidfd >= 0) {
            close(event.pidfd);
        }
        if (event.fd >= 0) {
            close(event.fd);
        }
    }
    if (step == FAN_STEP_FOREIGN) {
        output_fatal(EPROTO, "Cannot read the kernel's events: their layout is not known");
    }
}
