/*
 * old_glibc.h - one build for glibc 2.28 (RHEL 8) and everything after it.
 *
 * glibc 2.33 and 2.34 gave new versions to names that had been elsewhere: a program linked there
 * asks for `stat@GLIBC_2.33` and does not start on an older system. P4CACHE_OLD_GLIBC(name) asks for
 * the version that every glibc has. What was in libdl and libpthread then is still found: the
 * linker names both libraries, which are empty today (shim/Makefile).
 *
 * tests/shim/t_library.py looks that no part of ours needs anything newer.
 */
#ifndef P4CACHE_OLD_GLIBC_H
#define P4CACHE_OLD_GLIBC_H

#if defined __x86_64__
#define P4CACHE_GLIBC_BASE "GLIBC_2.2.5"
#elif defined __aarch64__
#define P4CACHE_GLIBC_BASE "GLIBC_2.17"
#else
#error "the first version of glibc on this machine is not known here"
#endif

#define P4CACHE_OLD_GLIBC(name) __asm__(".symver " #name ", " #name "@" P4CACHE_GLIBC_BASE)

#endif
