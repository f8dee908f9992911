/*
 * shared.c - operations on files that every actor of a run works on at once. What comes out
 * of them depends on who was first, so they say nothing but VIOLATION where a rule is broken:
 *
 *  - A read sees one version whole, and no older one than its writer had been told is there.
 *  - A name that is only ever replaced is never missing, by open, by stat, in a listing.
 *  - What was appended stays, once, in the order of its writer.
 */
#include "actor.h"

#include <dirent.h>

#define MAGIC 0x70346361u

struct version {
    uint32_t magic;
    uint32_t name;
    uint32_t writer;
    uint32_t seq;
    uint32_t bytes; /* that follow */
    uint32_t check; /* of the four above */
};

struct record {
    uint32_t magic;
    uint32_t writer;
    uint32_t seq;
    uint32_t check;
};

static uint32_t check_of(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t words[4] = {a, b, c, d};
    return (uint32_t)hash_bytes(MAGIC, (const unsigned char *)words, sizeof words);
}

static unsigned long seed_of(const struct version *v) {
    return ((unsigned long)v->name << 40) ^ ((unsigned long)v->writer << 20) ^ v->seq;
}

static void shared_path(const struct actor *a, char out[PATH_MAX], const char *kind, long n) {
    snprintf(out, PATH_MAX, "%s/%s%ld,v", a->shared, kind, n);
}

static uint32_t load(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }

/* sput n length: a temporary file, and a rename over the name */
static void run_sput(struct actor *a) {
    const uint32_t n = (uint32_t)number(a, 1);
    struct version v = {MAGIC, n, a->writer, load(&a->control->put[n][a->writer]) + 1,
                        (uint32_t)number(a, 2), 0};
    v.check = check_of(v.name, v.writer, v.seq, v.bytes);
    unsigned char *bytes = malloc(v.bytes + sizeof v);
    memcpy(bytes, &v, sizeof v);
    fill(bytes + sizeof v, v.bytes, seed_of(&v));
    char target[PATH_MAX];
    char temporary[PATH_MAX];
    shared_path(a, target, "name", n);
    shared_path(a, temporary, "writing", a->writer);
    int fd = -1;
    if (TRY(a, "create", fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644))) {
        const bool is_written =
            TRY(a, "write", write_all(fd, bytes, sizeof v + v.bytes) ? 0 : -1);
        close(fd);
        enter_structure(a);
        if (is_written && TRY(a, "rename", rename(temporary, target))) {
            __atomic_store_n(&a->control->put[n][a->writer], v.seq, __ATOMIC_SEQ_CST);
        }
        leave_structure(a);
    }
    free(bytes);
}

/* Whether the bytes are one version whole, and not older than `known` says. */
static void judge_version(struct actor *a, uint32_t n, const unsigned char *bytes, size_t count,
                          const uint32_t *known, bool is_final) {
    struct version v;
    if (count < sizeof v) {
        say(a, " VIOLATION name%u is %zu bytes short", n, count);
        return;
    }
    memcpy(&v, bytes, sizeof v);
    if (v.magic != MAGIC || v.check != check_of(v.name, v.writer, v.seq, v.bytes) ||
        v.name != n || v.writer >= WRITERS_MAX || count != sizeof v + v.bytes) {
        say(a, " VIOLATION name%u holds no version of it, %zu bytes", n, count);
        return;
    }
    unsigned char *wanted = malloc(v.bytes + 1);
    fill(wanted, v.bytes, seed_of(&v));
    if (memcmp(wanted, bytes + sizeof v, v.bytes) != 0) {
        say(a, " VIOLATION name%u version %u.%u has other bytes", n, v.writer, v.seq);
    }
    free(wanted);
    if (v.seq < known[v.writer] || (is_final && v.seq != known[v.writer])) {
        say(a, " VIOLATION name%u shows version %u of writer %u, who had written %u", n, v.seq,
            v.writer, known[v.writer]);
    }
}

static void look_at_version(struct actor *a, uint32_t n, bool is_final) {
    uint32_t known[WRITERS_MAX];
    for (int w = 0; w < WRITERS_MAX; w++) {
        known[w] = load(&a->control->put[n][w]);
    }
    char path[PATH_MAX];
    shared_path(a, path, "name", n);
    int fd = -1;
    struct stat st;
    if (!TRY(a, "open", fd = open(path, O_RDONLY | O_CLOEXEC))) {
        if (a->failed_step < 0) {
            say(a, " VIOLATION name%u cannot be opened", n);
        }
        return;
    }
    if (TRY(a, "fstat", fstat(fd, &st))) {
        unsigned char *bytes = malloc((size_t)st.st_size + 1);
        const ssize_t got = pread(fd, bytes, (size_t)st.st_size + 1, 0);
        if (got != st.st_size) {
            say(a, " VIOLATION name%u: fstat said %lld bytes, read gave %zd", n,
                (long long)st.st_size, got);
        } else {
            judge_version(a, n, bytes, (size_t)got, known, is_final);
        }
        free(bytes);
    }
    close(fd);
}

/* sget n */
static void run_sget(struct actor *a) { look_at_version(a, (uint32_t)number(a, 1), false); }

/* sstat n */
static void run_sstat(struct actor *a) {
    char path[PATH_MAX];
    struct stat st;
    shared_path(a, path, "name", number(a, 1));
    if (TRY(a, "stat", stat(path, &st)) && !S_ISREG(st.st_mode)) {
        say(a, " VIOLATION %s is no file: %o", path, st.st_mode);
    } else if (a->failed_step < 0 && access(path, R_OK) != 0) {
        say(a, " VIOLATION %s cannot be accessed", path);
    }
}

/* slist: each name once, as a regular file */
static void run_slist(struct actor *a) {
    int seen[SHARED_NAMES] = {0};
    DIR *dir = NULL;
    if (!TRY(a, "opendir", (dir = opendir(a->shared)) == NULL ? -1 : 0)) {
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        unsigned n = 0;
        if (sscanf(e->d_name, "name%u,v", &n) == 1 && n < SHARED_NAMES) {
            seen[n]++;
            if (e->d_type != DT_REG) {
                say(a, " VIOLATION %s is listed as type %d", e->d_name, e->d_type);
            }
        }
    }
    closedir(dir);
    for (unsigned n = 0; n < SHARED_NAMES; n++) {
        if (seen[n] != 1) {
            say(a, " VIOLATION name%u is listed %d times", n, seen[n]);
        }
    }
}

/* sappend n: one record by one write */
static void run_sappend(struct actor *a) {
    const uint32_t n = (uint32_t)number(a, 1);
    uint32_t *mine = &a->control->appended[n][a->writer];
    struct record r = {MAGIC, a->writer, load(mine) + 1, 0};
    r.check = check_of(r.magic, r.writer, r.seq, n);
    char path[PATH_MAX];
    shared_path(a, path, "log", n);
    int fd = -1;
    if (TRY(a, "open", fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644))) {
        if (TRY(a, "write", write_all(fd, &r, sizeof r) ? 0 : -1)) {
            __atomic_store_n(mine, r.seq, __ATOMIC_SEQ_CST);
        }
        close(fd);
    }
}

static void judge_log(struct actor *a, uint32_t n, const struct record *records, size_t count,
                      const uint32_t *known) {
    uint32_t seen[WRITERS_MAX] = {0};
    for (size_t i = 0; i < count; i++) {
        const struct record *r = &records[i];
        if (r->magic != MAGIC || r->writer >= WRITERS_MAX ||
            r->check != check_of(r->magic, r->writer, r->seq, n)) {
            say(a, " VIOLATION record %zu of log%u is none", i, n);
            return;
        }
        if (r->seq != ++seen[r->writer]) {
            say(a, " VIOLATION log%u: writer %u, record %u where %u was next", n, r->writer,
                r->seq, seen[r->writer]);
            return;
        }
    }
    for (int w = 0; w < WRITERS_MAX; w++) {
        if (seen[w] < known[w]) {
            say(a, " VIOLATION log%u lost records %u to %u of writer %d", n, seen[w] + 1,
                known[w], w);
        }
    }
}

/* sscan n */
static void run_sscan(struct actor *a) {
    const uint32_t n = (uint32_t)number(a, 1);
    uint32_t known[WRITERS_MAX];
    for (int w = 0; w < WRITERS_MAX; w++) {
        known[w] = load(&a->control->appended[n][w]);
    }
    char path[PATH_MAX];
    shared_path(a, path, "log", n);
    int fd = -1;
    struct stat st;
    if (TRY(a, "open", fd = open(path, O_RDONLY | O_CLOEXEC)) && fstat(fd, &st) == 0) {
        struct record *records = malloc((size_t)st.st_size + 1);
        const ssize_t got = pread(fd, records, (size_t)st.st_size, 0);
        if (got != st.st_size || got % (ssize_t)sizeof *records != 0) {
            say(a, " VIOLATION log%u: fstat said %lld bytes, read gave %zd", n,
                (long long)st.st_size, got);
        } else {
            judge_log(a, n, records, (size_t)got / sizeof *records, known);
        }
        free(records);
    } else if (a->failed_step < 0 && fd < 0) {
        say(a, " VIOLATION log%u cannot be opened", n);
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* send: everything, when nobody writes any more */
static void run_send(struct actor *a) {
    for (uint32_t n = 0; n < SHARED_NAMES; n++) {
        look_at_version(a, n, true);
    }
}

const struct operation shared_operations[] = {
    {"sput", run_sput},       {"sget", run_sget},   {"sstat", run_sstat}, {"slist", run_slist},
    {"sappend", run_sappend}, {"sscan", run_sscan}, {"send", run_send},   {NULL, NULL},
};
