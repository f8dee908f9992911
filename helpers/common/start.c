/*
 * start.c - the start of a helper on any glibc from 2.28 on (old_glibc.h).
 *
 * From 2.34 on libc finds a program's constructors itself, and crt1.o asks for a version of
 * __libc_start_main that older systems lack. The old version, told of none, runs none on an old
 * system (we have none) and finds them on a new one. The linker leads crt1.o here by --wrap.
 */
#include "../old_glibc.h"

typedef int main_function(int, char **, char **);

P4CACHE_OLD_GLIBC(__libc_start_main);
int __libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*unload)(void), void *stack_end);
int __wrap___libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                             void (*fini)(void), void (*unload)(void), void *stack_end);

int __wrap___libc_start_main(main_function *main, int argc, char **argv, void (*init)(void),
                             void (*fini)(void), void (*unload)(void), void *stack_end) {
    return __libc_start_main(main, argc, argv, init, fini, unload, stack_end);
}
