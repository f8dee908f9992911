/*
 * directories.h - the path of a directory that an event names by its handle.
 *
 * What counts is the path at the time of the event, not now: a directory that was renamed or
 * removed since must not lend its events another name, or none. So directories are learnt from the
 * events that make them, and moved and forgotten by the events that do that, which come in order.
 * One that was made before is met by the survey of the start, or is resolved when an event first names
 * it (open_by_handle_at needs CAP_DAC_READ_SEARCH), and remembered, whether it lies in the depot or
 * not: most events of a file system are not ours. Only such a first meeting can see a path that is
 * ahead of its event.
 */
#ifndef P4CACHE_DIRECTORIES_H
#define P4CACHE_DIRECTORIES_H

#include <sys/stat.h>

#include "fan_event.h"
#include "roots.h"

enum place {
    PLACE_INSIDE,  /* *out is the path */
    PLACE_OUTSIDE, /* not in the depot, or in a directory that no longer exists: nothing is there */
    PLACE_UNKNOWN, /* could not be found out: errno says why, the daemon must look itself */
};

enum place directories_find(const struct roots *roots, const struct fan_name *name,
                            struct depot_path *out);

/* What an event is about, while it exists: false when it does not, or is not told. */
bool directories_stat(const struct roots *roots, const struct fan_handle *file, struct stat *out);

/* It was made at `path`. */
void directories_learn(const struct fan_handle *handle, const struct depot_path *path);

/* It is at `path` now. What events have said of it counts more. */
void directories_meet(const struct fan_handle *handle, const struct depot_path *path);

/* It was removed. */
void directories_forget(const struct fan_handle *handle);

/* A directory was renamed, with all below it. NULL: outside of the depot. Of two that trade places the
 * kernel tells as of two renames. */
void directories_move(const struct fan_handle *directory, const struct depot_path *from,
                      const struct depot_path *to);

/* Events are missing. */
void directories_forget_all(void);

#endif
