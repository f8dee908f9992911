/*
 * directories.h - the path of a directory that an event names by its handle.
 *
 * A handle is resolved once (open_by_handle_at needs CAP_DAC_READ_SEARCH) and remembered, whether
 * it lies in the depot or not: most events of a file system are not ours. A renamed directory
 * changes the paths below it, so the memory is emptied at each such event; they come in order.
 */
#ifndef P4CACHE_DIRECTORIES_H
#define P4CACHE_DIRECTORIES_H

#include "fan_event.h"
#include "roots.h"

enum place {
    PLACE_INSIDE,  /* *out is the path */
    PLACE_OUTSIDE, /* not in the depot, or in a directory that no longer exists: nothing is there */
    PLACE_UNKNOWN, /* could not be found out: errno says why, the daemon must look itself */
};

enum place directories_find(const struct roots *roots, const struct fan_name *name,
                            struct depot_path *out);

void directories_forget_all(void);

#endif
