/*
 * config.c - the environment, read once, and whether the shim acts in this process.
 *
 * Read when the library is loaded, or by the first hook that an earlier constructor calls.
 * What a program does to its environment later changes nothing here.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "real.h"
#include "shim.h"
#include "sys.h"

#define RESTART_GRACE_MS 30000  /* an upgrade of the daemon does not show */
#define FETCH_TIMEOUT_MS 600000 /* without any word from the daemon */

struct p4shim_config p4shim_config;
int p4shim_state = P4SHIM_NEW;

/* The daemon and its helpers would ask themselves for the file they are restoring. */
static const char *const own_programs[] = {"p4-cache", "p4-cache-gate", "p4-cache-fanotify"};

static bool is_own_program(void) {
    char path[PATH_MAX];
    const ssize_t bytes = sys_readlinkat(AT_FDCWD, "/proc/self/exe", path, sizeof path - 1);
    if (bytes <= 0) {
        return false;
    }
    path[bytes] = '\0';
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    for (size_t i = 0; i < sizeof own_programs / sizeof *own_programs; i++) {
        if (strcmp(name, own_programs[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *setting(const char *name) {
    const char *value = secure_getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

static int64_t setting_ms(const char *name, int64_t otherwise) {
    const char *value = setting(name);
    return value == NULL ? otherwise : p4shim_setting_ms(value, otherwise);
}

static bool copy_path(char out[PATH_MAX], const char *base, const char *path) {
    size_t bytes = 0;
    out[0] = '\0';
    return (base == NULL || p4shim_join(out, PATH_MAX, &bytes, base)) &&
           p4shim_join(out, PATH_MAX, &bytes, path);
}

static bool read_environment(struct p4shim_config *c) {
    const char *depot = setting("P4CACHE_DEPOT");
    if (depot == NULL || depot[0] != '/' || setting("P4CACHE_DISABLE") != NULL ||
        is_own_program() || !copy_path(c->depot.path, NULL, depot)) {
        return false;
    }
    c->depot.bytes = strlen(c->depot.path);
    if (c->depot.bytes == 0) {
        return false; /* the root directory as a depot: every open would be ours */
    }
    const char *shim = setting("P4CACHE_SOCK");
    const char *access = setting("P4CACHE_ACCESS_SOCK");
    if (!copy_path(c->shim_sock, shim == NULL ? c->depot.path : NULL,
                   shim == NULL ? ".p4cache/shim.sock" : shim) ||
        !copy_path(c->access_sock, access == NULL ? c->depot.path : NULL,
                   access == NULL ? ".p4cache/access.sock" : access)) {
        return false;
    }
    c->restart_grace_ms = setting_ms("P4CACHE_RESTART_GRACE_MS", RESTART_GRACE_MS);
    c->fetch_timeout_ms = setting_ms("P4CACHE_FETCH_TIMEOUT_MS", FETCH_TIMEOUT_MS);
    const char *stat_mode = setting("P4CACHE_STAT");
    c->stat_restores = stat_mode != NULL && strcmp(stat_mode, "restore") == 0;
    const char *manage = setting("P4CACHE_MANAGE");
    c->manage_all = manage != NULL && strcmp(manage, "all") == 0;
    return true;
}

static bool ask_for_real_depot(struct p4shim_root *real) {
    struct p4shim_fd root = {.fd = sys_openat(AT_FDCWD, p4shim_config.depot.path,
                                              O_PATH | O_DIRECTORY | O_CLOEXEC, 0)};
    if (root.fd < 0 || !p4shim_own(&root, P4SHIM_PATH)) {
        return false;
    }
    char link[P4SHIM_FD_LINK_MAX];
    p4shim_fd_link(link, root.fd);
    const ssize_t bytes = sys_readlinkat(AT_FDCWD, link, real->path, PATH_MAX - 1);
    p4shim_close(&root);
    if (bytes <= 1 || bytes >= PATH_MAX - 1 || real->path[0] != '/') {
        return false;
    }
    real->path[bytes] = '\0';
    real->bytes = (size_t)bytes;
    return true;
}

/* Written once, by who claims it; read only after it is published. */
enum { UNASKED, ASKING, KNOWN };
static int real_depot_state = UNASKED;

const struct p4shim_root *p4shim_real_depot(void) {
    int state = __atomic_load_n(&real_depot_state, __ATOMIC_ACQUIRE);
    if (P4SHIM_LIKELY(state == KNOWN)) {
        return &p4shim_config.real;
    }
    if (state == UNASKED && __atomic_compare_exchange_n(&real_depot_state, &state, ASKING,
                                                        false, __ATOMIC_ACQ_REL,
                                                        __ATOMIC_ACQUIRE)) {
        const int saved = errno;
        const bool known = ask_for_real_depot(&p4shim_config.real);
        errno = saved;
        __atomic_store_n(&real_depot_state, known ? KNOWN : UNASKED, __ATOMIC_RELEASE);
        return known ? &p4shim_config.real : &p4shim_config.depot;
    }
    return &p4shim_config.depot;
}

bool p4shim_configure(void) {
    static int claimed;
    const int saved = errno;
    int expected = 0;
    if (environ == NULL || !__atomic_compare_exchange_n(&claimed, &expected, 1, false,
                                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        /* Too early, or another thread is at it: this one call is libc's alone. */
        return __atomic_load_n(&p4shim_state, __ATOMIC_ACQUIRE) == P4SHIM_ON;
    }
    const bool on = read_environment(&p4shim_config);
    if (on) {
        (void)p4shim_real_depot();
        p4shim_events_start();
        p4shim_cwd_start();
    }
    __atomic_store_n(&p4shim_state, on ? P4SHIM_ON : P4SHIM_OFF, __ATOMIC_RELEASE);
    errno = saved;
    return on;
}

static void forked(void) {
    int asking = ASKING; /* the thread that asked is not in this process */
    (void)__atomic_compare_exchange_n(&real_depot_state, &asking, UNASKED, false,
                                      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    if (p4shim_is_on()) {
        p4shim_client_forked();
        p4shim_events_forked();
        p4shim_cwd_start();
    }
}

__attribute__((constructor)) static void loaded(void) {
    p4shim_resolve();
    if (p4shim_is_on()) {
        (void)pthread_atfork(NULL, NULL, forked);
    }
}

__attribute__((destructor)) static void ending(void) {
    if (p4shim_is_on()) {
        p4shim_flush_all();
    }
}
