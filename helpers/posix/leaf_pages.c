/*
 * leaf_pages.c - looks at the leaf pages of one branch page of the manifest's file (LMDB, pages of
 * 8,192 bytes; src/manifest/page_file.ts has the layout): the one loop over nearly all pages that
 * a daemon waits for before it serves. The same checks in TypeScript are plainLeafEntries() and
 * contentSumOf() in src/manifest/page_nodes.ts; what is not plain is left to them.
 */
#include "pages.h"

/* Adds a plain leaf page with keys in [from, before) to `leaves`; false if it is none. */
static bool add_leaf(const unsigned char *page, struct key from, struct key before,
                     struct p4posix_leaves *leaves) {
    const int nodes = nodes_of(page);
    uint64_t sum = 0;
    struct key last = from;
    for (int i = 0; i < nodes; i++) {
        const unsigned char *node = node_at(page, i);
        struct key key;
        struct key value;
        if (node == NULL || u16_at(node + 4) != 0 || !key_of(page, node, &key) ||
            !value_of(page, node, key, &value)) {
            return false;
        }
        if (last.bytes != NULL) {
            const int order = compare_keys(last, key);
            if (order > 0 || (order == 0 && i > 0)) {
                return false;
            }
        }
        last = key;
        if (leaves->is_summed != 0) {
            sum += (uint32_t)~crc32_after(UINT32_MAX, key.bytes, key.length + value.length);
        }
    }
    if (nodes == 0 || (before.bytes != NULL && compare_keys(last, before) >= 0)) {
        return false;
    }
    leaves->entries += (uint64_t)nodes;
    leaves->sum = (leaves->sum + sum) & UINT64_C(0xffffffffffff);
    return true;
}

/*
 * Looks at the children of the sound branch page `branch`, which are leaf pages of the file `fd`.
 * `bounds` has the least key and the key behind the last. Sets verdicts[i] to 1 if child i is a
 * plain leaf page in order, and 0 if somebody has to look closer; returns the number of children,
 * at most `room`.
 */
P4POSIX_EXPORT int p4posix_leaf_pages(int fd, const unsigned char *branch,
                                      const unsigned char *bounds, struct p4posix_leaves *leaves,
                                      unsigned char *verdicts, int room) {
    const int nodes = nodes_of(branch);
    if (nodes > room) {
        return -EINVAL;
    }
    leaves->entries = 0;
    leaves->sum = 0;
    const size_t from_bytes = leaves->from_bytes < 0 ? 0 : (size_t)leaves->from_bytes;
    struct key from = {leaves->from_bytes < 0 ? NULL : bounds, from_bytes};
    for (int i = 0; i < nodes; i++) {
        const unsigned char *node = node_at(branch, i);
        const unsigned char *next = i + 1 < nodes ? node_at(branch, i + 1) : NULL;
        struct key key;
        struct key before = {leaves->before_bytes < 0 ? NULL : bounds + from_bytes,
                             leaves->before_bytes < 0 ? 0 : (size_t)leaves->before_bytes};
        if (node == NULL || !key_of(branch, node, &key) ||
            (i + 1 < nodes && (next == NULL || !key_of(branch, next, &before)))) {
            return -EINVAL;
        }
        /* The first key of a branch page says nothing. */
        if (i > 0) {
            from = key;
        }
        const uint64_t number = child_of(node);
        unsigned char page[PAGE_BYTES];
        const int done = number > INT64_MAX / PAGE_BYTES
                             ? -EINVAL
                             : read_at(fd, page, PAGE_BYTES, (int64_t)number * PAGE_BYTES);
        verdicts[i] = done == PAGE_BYTES &&
                      is_page(page, number, LEAF, leaves->transaction_max) &&
                      add_leaf(page, from, before, leaves);
    }
    return nodes;
}
