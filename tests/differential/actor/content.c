/*
 * content.c - operations on what is in a file: every way to open it, read it, write it.
 */
#include "actor.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

typedef int (*open_2_call)(const char *, int);
typedef int (*openat_2_call)(int, const char *, int);

/* One of the names that glibc has for an open. The fortified ones take no mode. */
static int open_by(const char *variant, const struct place *p, int flags, mode_t mode) {
    if (strcmp(variant, "open") == 0) {
        return open(p->absolute, flags, mode);
    }
    if (strcmp(variant, "open64") == 0) {
        return open64(p->absolute, flags, mode);
    }
    if (strcmp(variant, "openat64") == 0) {
        return openat64(p->dirfd, p->path, flags, mode);
    }
    if (strcmp(variant, "creat") == 0) {
        return creat(p->absolute, mode);
    }
    if (strcmp(variant, "__open_2") == 0 && (flags & O_CREAT) == 0) {
        return ((open_2_call)dlsym(RTLD_DEFAULT, variant))(p->absolute, flags);
    }
    if (strcmp(variant, "__openat_2") == 0 && (flags & O_CREAT) == 0) {
        return ((openat_2_call)dlsym(RTLD_DEFAULT, variant))(p->dirfd, p->path, flags);
    }
    return openat(p->dirfd, p->path, flags, mode);
}

static void set_mtime(struct actor *a, int fd, long sec) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {sec, sec % 1000 * 1000 + 7}};
    if (sec > 0) {
        (void)TRY(a, "futimens", futimens(fd, times));
    }
}

/* open variant how path flags mode length seed mtime */
static void run_open(struct actor *a) {
    struct place p = place_of(a, field(a, 2), field(a, 3));
    const int flags = strcmp(field(a, 1), "creat") == 0 ? flags_of("wct") : flags_of(field(a, 4));
    int fd = -1;
    if (p.is_good &&
        TRY(a, "open", fd = open_by(field(a, 1), &p, flags, (mode_t)number(a, 5)))) {
        struct stat st;
        if (TRY(a, "fstat", fstat(fd, &st))) {
            /* The size is told after the write, if this one is to write. */
            say_stat(a, &st, true);
        }
        const int access = flags & O_ACCMODE;
        if ((flags & O_PATH) == 0 && S_ISREG(st.st_mode)) {
            if (access != O_WRONLY) {
                (void)say_content(a, fd);
            }
            if (access != O_RDONLY) {
                (void)write_pattern(a, "write", fd, (size_t)number(a, 6),
                                    (unsigned long)number(a, 7));
                set_mtime(a, fd, number(a, 8));
            }
        }
        close(fd);
    }
    leave_place(&p);
}

static void use_stream(struct actor *a, FILE *stream, const char *mode) {
    unsigned char bytes[8192];
    size_t n = 0;
    uint64_t hash = 0;
    if (mode[0] == 'r') {
        for (size_t got; (got = fread(bytes, 1, sizeof bytes, stream)) > 0; n += got) {
            hash = hash_bytes(hash, bytes, got);
        }
        say(a, " %zu:%llx", n, (unsigned long long)hash);
    }
    if (mode[0] != 'r' || strchr(mode, '+') != NULL) {
        const size_t count = (size_t)number(a, 4) % sizeof bytes;
        fill(bytes, count, (unsigned long)number(a, 5));
        fseek(stream, 0, SEEK_CUR);
        fwrite(bytes, 1, count, stream);
    }
    (void)TRY(a, "fflush", fflush(stream) == 0 ? 0 : -1);
}

/* fopen how path mode length seed */
static void run_fopen(struct actor *a) {
    struct place p = place_of(a, field(a, 1)[0] == 'd' ? "a" : field(a, 1), field(a, 2));
    FILE *stream = NULL;
    if (TRY(a, "fopen", (stream = fopen(p.absolute, field(a, 3))) == NULL ? -1 : 0)) {
        use_stream(a, stream, field(a, 3));
        fclose(stream);
    }
}

/* freopen how path mode length seed */
static void run_freopen(struct actor *a) {
    struct place p = place_of(a, field(a, 1)[0] == 'd' ? "a" : field(a, 1), field(a, 2));
    FILE *stream = fopen("/dev/null", "r");
    if (TRY(a, "freopen", (stream = freopen(p.absolute, field(a, 3), stream)) == NULL ? -1 : 0)) {
        use_stream(a, stream, field(a, 3));
        fclose(stream);
    }
}

/* mmap how path: the descriptor is closed before the bytes are looked at */
static void run_mmap(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    int fd = -1;
    struct stat st;
    if (p.is_good && TRY(a, "open", fd = openat(p.dirfd, p.path, O_RDONLY | O_CLOEXEC))) {
        if (TRY(a, "fstat", fstat(fd, &st)) && S_ISREG(st.st_mode) && st.st_size > 0) {
            const size_t bytes = (size_t)st.st_size;
            void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
            close(fd);
            fd = -1;
            say(a, " %zu:%llx", bytes, (unsigned long long)hash_bytes(0, at, bytes));
            munmap(at, bytes);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    leave_place(&p);
}

/* mmapw how path seed mtime: through a shared mapping, whose descriptor is closed by then */
static void run_mmapw(struct actor *a) {
    struct place p = place_of(a, field(a, 1), field(a, 2));
    int fd = -1;
    struct stat st;
    if (p.is_good && TRY(a, "open", fd = openat(p.dirfd, p.path, O_RDWR | O_CLOEXEC))) {
        if (TRY(a, "fstat", fstat(fd, &st)) && S_ISREG(st.st_mode) && st.st_size > 0) {
            const size_t bytes = (size_t)st.st_size;
            unsigned char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            close(fd);
            fd = -1;
            fill(at, bytes / 2 + 1, (unsigned long)number(a, 3));
            (void)TRY(a, "msync", msync(at, bytes, MS_SYNC));
            munmap(at, bytes);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    leave_place(&p);
}

/* copy howA pathA howB pathB */
static void run_copy(struct actor *a) {
    struct place from = place_of(a, field(a, 1), field(a, 2));
    struct place to = place_of(a, field(a, 3), field(a, 4));
    int in = -1;
    int out = -1;
    struct stat st;
    if (from.is_good && to.is_good &&
        TRY(a, "open", in = openat(from.dirfd, from.path, O_RDONLY | O_CLOEXEC))) {
        if (fstat(in, &st) == 0 && S_ISREG(st.st_mode) &&
            TRY(a, "create", out = openat(to.dirfd, to.path,
                                          O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640))) {
            ssize_t n = 0;
            while ((n = copy_file_range(in, NULL, out, NULL, 1 << 20, 0)) > 0) {
            }
            if (n < 0) {
                n = sendfile(out, in, NULL, 1 << 20);
            }
            (void)note_step(a, "copy", n);
            close(out);
        }
        close(in);
    }
    leave_place(&from);
    leave_place(&to);
}

/* hold slot how path flags: stays open over the operations that follow */
static void run_hold(struct actor *a) {
    int *held = &a->held[number(a, 1)];
    if (*held >= 0) {
        close(*held);
        *held = -1;
    }
    struct place p = place_of(a, field(a, 2), field(a, 3));
    int fd = -1;
    if (p.is_good && TRY(a, "open", fd = openat(p.dirfd, p.path, flags_of(field(a, 4)), 0644))) {
        *held = fd;
    }
    leave_place(&p);
}

/* held slot: what the open file has now; links are not told (docs/semantics.md) */
static void run_held(struct actor *a) {
    const int fd = a->held[number(a, 1)];
    struct stat st;
    if (fd >= 0 && TRY(a, "fstat", fstat(fd, &st))) {
        say_stat(a, &st, false);
        if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY) {
            (void)say_content(a, fd);
        }
    }
}

/* heldw slot offset length seed */
static void run_heldw(struct actor *a) {
    const int fd = a->held[number(a, 1)];
    unsigned char bytes[16384];
    const size_t count = (size_t)number(a, 3) % sizeof bytes;
    if (fd >= 0) {
        fill(bytes, count, (unsigned long)number(a, 4));
        (void)TRY(a, "pwrite", pwrite(fd, bytes, count, number(a, 2)));
    }
}

/* release slot */
static void run_release(struct actor *a) {
    int *held = &a->held[number(a, 1)];
    if (*held >= 0) {
        close(*held);
        *held = -1;
    }
}

const struct operation content_operations[] = {
    {"open", run_open},   {"fopen", run_fopen}, {"freopen", run_freopen},
    {"mmap", run_mmap},   {"mmapw", run_mmapw}, {"copy", run_copy},
    {"hold", run_hold},   {"held", run_held},   {"heldw", run_heldw},
    {"release", run_release}, {NULL, NULL},
};
