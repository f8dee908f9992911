/* probe.h - what the files of the probe share. */
#ifndef PROBE_H
#define PROBE_H

/* Prints a return, and its errno when it is -1. */
void probe_show(const char *what, long rc);

/* Prints the fields of stat that are in the contract, or the errno. */
struct stat;
void probe_show_stat(const char *what, int rc, const struct stat *st);

/* Prints and closes a descriptor's content, or the errno. */
void probe_show_fd(int fd);

/* old_calls.c */
void probe_old_stat(const char *path);

/* listing.c */
void probe_readdir(const char *path);
void probe_walk(const char *path);
void probe_exec(const char *path);
void probe_exec_relative(const char *path);
void probe_vfork_exec(const char *path);
void probe_spawn(const char *path);
void probe_pidfd_spawn(const char *path);
void probe_dlopen(const char *path);
void probe_everything(const char *directory);

/* hosts.c */
void probe_fork_for_each(const char *path);
void probe_thousands(const char *path);
void probe_other_root(const char *path);
void probe_filtered(const char *path);
void probe_vfork_chdir(const char *path);
void probe_alternate_stack(const char *path);

/* hostile.c: hosts that do unkind things while the shim is at work. */
void probe_fork_while_waiting(const char *path);
void probe_closes_all(const char *path);
void probe_signals(const char *path);
void probe_threads(const char *path);
void probe_small_stack(const char *path);
void probe_cancel(const char *path);
void probe_chroot(const char *path);
void probe_no_descriptors(const char *path);
void probe_rcs_update(const char *path);
void probe_real_socket(const char *path);
void probe_idle(const char *path);
void probe_opens(const char *path);
void probe_exit_at_once(const char *path);
void probe_exec_after_open(const char *path);
void probe_fork_events(const char *path);
void probe_open_twice(const char *path);
void probe_fork_in_handler(const char *path);
void probe_on_command(const char *path);

#endif
