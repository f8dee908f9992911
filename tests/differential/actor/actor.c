/*
 * actor.c - reads scripts, runs each in a thread, writes what was seen.
 *
 *   actor --root R --through L --outside O --shared S --control C --writer N [--follow] STEM...
 *
 * Each STEM is a thread: STEM.script is read, one operation a line, fields separated by tabs;
 * STEM.depot or, with --follow, STEM.plain is written, one line an operation:
 * what was seen TAB the failed step and its errno, or - TAB e if it began on an evicted file TAB
 * the time at its end, for whoever looks into the daemon's log.
 */
#include "actor.h"

#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

static const struct operation *const tables[] = {content_operations, name_operations,
                                                 look_operations, run_operations,
                                                 shared_operations};

static void die(const char *what) {
    fprintf(stderr, "actor: %s: %s\n", what, strerror(errno));
    exit(2);
}

void say(struct actor *a, const char *format, ...) {
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(a->text + a->bytes, TEXT_MAX - a->bytes, format, list);
    va_end(list);
    if (n < 0 || a->bytes + (size_t)n >= TEXT_MAX) {
        errno = E2BIG;
        die("one operation has too much to say");
    }
    a->bytes += (size_t)n;
}

/* What a store that fails, or a daemon that hangs, may make of a call (docs/semantics.md). */
static bool is_tolerable(const struct actor *a, int why) {
    return why == EIO || why == ENOSPC || (why == ENXIO && a->may_be_enxio);
}

static void fail_step(struct actor *a, const char *what, int why) {
    say(a, " %s!%s", what, strerrorname_np(why));
    if (is_tolerable(a, why) && a->failed_step < 0) {
        a->failed_step = a->step;
        a->failed_errno = why;
    }
    a->step++;
}

bool stops_here(struct actor *a, const char *what) {
    if (a->step != a->stop_step) {
        return false;
    }
    fail_step(a, what, a->stop_errno);
    return true;
}

bool note_step(struct actor *a, const char *what, long rc) {
    if (rc == -1) {
        fail_step(a, what, errno);
        return false;
    }
    say(a, " %s", what);
    a->step++;
    return true;
}

const char *field(const struct actor *a, int i) {
    if (i >= a->field_count) {
        fprintf(stderr, "actor: \"%s\" lacks field %d\n", a->fields[0], i);
        exit(2);
    }
    return a->fields[i];
}

long number(const struct actor *a, int i) { return strtol(field(a, i), NULL, 10); }

int flags_of(const char *letters) {
    int flags = O_CLOEXEC;
    bool reads = false;
    bool writes = false;
    for (const char *c = letters; *c != '\0'; c++) {
        reads = reads || *c == 'r';
        writes = writes || *c == 'w';
        flags |= *c == 'c'   ? O_CREAT
                 : *c == 'x' ? O_EXCL
                 : *c == 't' ? O_TRUNC
                 : *c == 'a' ? O_APPEND
                 : *c == 'n' ? O_NOFOLLOW
                 : *c == 'd' ? O_DIRECTORY
                 : *c == 'p' ? O_PATH
                 : *c == 's' ? O_DSYNC
                             : 0;
    }
    return flags | (writes ? (reads ? O_RDWR : O_WRONLY) : O_RDONLY);
}

static void join(char *out, const char *base, const char *path) {
    const int n = snprintf(out, PATH_MAX, "%s%s%s", base, *base && *path ? "/" : "", path);
    if (n < 0 || n >= PATH_MAX) {
        errno = ENAMETOOLONG;
        die(path);
    }
}

static void relative_to_cwd(const struct actor *a, char *out, const char *path) {
    const size_t n = strlen(a->cwd);
    if (n == 0) {
        join(out, "", *path == '\0' ? "." : path);
    } else if (strncmp(path, a->cwd, n) == 0 && path[n] == '/') {
        join(out, "", path + n + 1);
    } else {
        char up[PATH_MAX] = "..";
        for (const char *c = a->cwd; *c != '\0'; c++) {
            if (*c == '/') {
                strcat(up, "/..");
            }
        }
        join(out, up, path);
    }
}

struct place place_of(struct actor *a, const char *how, const char *path) {
    struct place p = {.dirfd = AT_FDCWD, .is_good = true};
    const bool is_outside = path[0] == '^';
    join(p.absolute, is_outside ? a->outside : *how == 'l' ? a->through : a->root,
         path + is_outside);
    if (is_outside || *how == 'a' || *how == 'l') {
        memcpy(p.path, p.absolute, PATH_MAX);
    } else if (*how == 'r') {
        relative_to_cwd(a, p.path, path);
        memcpy(p.absolute, p.path, PATH_MAX);
    } else {
        char directory[PATH_MAX];
        memcpy(directory, p.absolute, PATH_MAX);
        char *slash = strrchr(directory, '/');
        join(p.path, "", slash + 1);
        *slash = '\0';
        p.is_good = TRY(a, "dir", p.dirfd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    return p;
}

void leave_place(struct place *p) {
    if (p->dirfd >= 0) {
        close(p->dirfd);
    }
}

void enter_structure(struct actor *a) {
    struct control *c = a->control;
    for (;;) {
        __atomic_add_fetch(&c->in_structure, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&c->hold, __ATOMIC_SEQ_CST) == 0) {
            return;
        }
        __atomic_sub_fetch(&c->in_structure, 1, __ATOMIC_SEQ_CST);
        usleep(2000);
    }
}

void leave_structure(struct actor *a) {
    __atomic_sub_fetch(&a->control->in_structure, 1, __ATOMIC_SEQ_CST);
}

static const struct operation *find_operation(const char *name) {
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const struct operation *o = tables[t]; o->name != NULL; o++) {
            if (strcmp(o->name, name) == 0) {
                return o;
            }
        }
    }
    fprintf(stderr, "actor: no operation \"%s\"\n", name);
    exit(2);
}

/* Past the shim: whether any path of the line is a socket inode. */
static bool meets_marker(struct actor *a) {
    for (int i = 1; i < a->field_count; i++) {
        char path[PATH_MAX];
        struct stat st;
        join(path, a->root, a->fields[i]);
        if (strchr(a->fields[i], '/') != NULL &&
            syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0) == 0 && S_ISSOCK(st.st_mode)) {
            return true;
        }
    }
    return false;
}

static void split(struct actor *a, char *line) {
    a->field_count = 0;
    for (char *at = line; at != NULL && a->field_count < FIELDS_MAX;) {
        a->fields[a->field_count++] = strsep(&at, "\t");
    }
}

/* The failed step of the followed account's next line; its seen part is not looked at. */
static void follow_line(struct actor *a, FILE *followed) {
    char *line = NULL;
    size_t room = 0;
    a->stop_step = -1;
    if (followed != NULL && getline(&line, &room, followed) > 0) {
        const char *tab = strchr(line, '\t');
        if (tab != NULL && sscanf(tab, "\t@%d %d", &a->stop_step, &a->stop_errno) != 2) {
            a->stop_step = -1;
        }
    }
    free(line);
}

static void run_line(struct actor *a, char *line, FILE *out) {
    split(a, line);
    a->bytes = 0;
    a->step = 0;
    a->failed_step = -1;
    a->may_be_enxio = strcmp(a->fields[0], "freopen") == 0;
    const bool met = meets_marker(a);
    say(a, "%s", a->fields[0]);
    find_operation(a->fields[0])->run(a);
    fwrite(a->text, 1, a->bytes, out);
    if (a->failed_step >= 0) {
        fprintf(out, "\t@%d %d", a->failed_step, a->failed_errno);
        __atomic_add_fetch(&a->control->tolerated, 1, __ATOMIC_RELAXED);
    } else {
        fputs("\t-", out);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    fprintf(out, "\t%s\t%lld.%03ld\n", met ? "e" : "", (long long)now.tv_sec,
            now.tv_nsec / 1000000);
    __atomic_add_fetch(&a->control->ops, 1, __ATOMIC_RELAXED);
    if (met) {
        __atomic_add_fetch(&a->control->met_markers, 1, __ATOMIC_RELAXED);
    }
}

static FILE *open_beside(const char *stem, const char *suffix, const char *mode) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.%s", stem, suffix);
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        die(path);
    }
    return file;
}

struct task {
    struct actor actor;
    const char *stem;
    bool follows;
    pthread_t thread;
};

static void *run_script(void *argument) {
    struct task *t = argument;
    FILE *script = open_beside(t->stem, "script", "re");
    FILE *followed = t->follows ? open_beside(t->stem, "depot", "re") : NULL;
    FILE *out = open_beside(t->stem, t->follows ? "plain" : "depot", "we");
    char *line = NULL;
    size_t room = 0;
    for (ssize_t n; (n = getline(&line, &room, script)) > 0;) {
        line[n - 1] = '\0';
        follow_line(&t->actor, followed);
        run_line(&t->actor, line, out);
    }
    free(line);
    for (int i = 0; i < HELD_MAX; i++) {
        if (t->actor.held[i] >= 0) {
            close(t->actor.held[i]);
        }
    }
    if (fclose(out) != 0) {
        die("results");
    }
    return NULL;
}

static struct control *map_control(const char *path) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED
                      : mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED,
                             fd, 0);
    if (at == MAP_FAILED) {
        die(path);
    }
    close(fd);
    return at;
}

int main(int argc, char **argv) {
    struct actor common = {.stop_step = -1};
    const char *root = "";
    const char *through = "";
    const char *outside = "";
    bool follows = false;
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *name = argv[i] + 2;
        if (strcmp(name, "follow") == 0) {
            follows = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : "";
        if (strcmp(name, "root") == 0) {
            root = value;
        } else if (strcmp(name, "through") == 0) {
            through = value;
        } else if (strcmp(name, "outside") == 0) {
            outside = value;
        } else if (strcmp(name, "shared") == 0) {
            common.shared = value;
        } else if (strcmp(name, "writer") == 0) {
            common.writer = (unsigned)atoi(value);
        } else if (strcmp(name, "control") == 0) {
            common.control = map_control(value);
        }
    }
    umask(022);
    const int count = argc - i;
    struct task *tasks = calloc((size_t)count, sizeof *tasks);
    for (int t = 0; t < count; t++) {
        struct task *task = &tasks[t];
        task->actor = common;
        task->actor.writer += (unsigned)t;
        task->stem = argv[i + t];
        task->follows = follows;
        const char *slash = strrchr(task->stem, '/');
        const char *name = slash == NULL ? task->stem : slash + 1;
        char path[PATH_MAX];
        join(path, root, name);
        task->actor.root = strdup(path);
        join(path, through, name);
        task->actor.through = strdup(path);
        join(path, outside, name);
        task->actor.outside = strdup(path);
        task->actor.text = malloc(TEXT_MAX);
        memset(task->actor.held, -1, sizeof task->actor.held);
    }
    if (chdir(count > 0 ? tasks[0].actor.root : "/") != 0) {
        die("chdir");
    }
    for (int t = 0; t < count; t++) {
        if (pthread_create(&tasks[t].thread, NULL, run_script, &tasks[t]) != 0) {
            die("pthread_create");
        }
    }
    for (int t = 0; t < count; t++) {
        pthread_join(tasks[t].thread, NULL);
    }
    return 0;
}
