/*
 * survey.h - learns where the directories of the depot are, from the start on, a few at a time.
 *
 * A directory that no event has named yet is resolved when one does. If it is removed in the same
 * moment, what left it by a rename just before left no name that anybody could tell. So the watcher
 * does not wait for that first event. Only the names of directories are read here; none comes
 * from an event, and no symbolic link and no mount is followed.
 */
#ifndef P4CACHE_SURVEY_H
#define P4CACHE_SURVEY_H

#include "roots.h"

void survey_begin(const struct roots *roots);

/* Reads on for about a millisecond. False when nothing is left to be read. */
bool survey_step(const struct roots *roots);

#endif
