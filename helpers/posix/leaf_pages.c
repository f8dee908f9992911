/*
 * leaf_pages.c - looks at the leaf pages of one branch page of the manifest's file (LMDB, pages of
 * 8,192 bytes; src/manifest/page_file.ts has the layout): the one loop over nearly all pages that
 * a daemon waits for before it serves. The same checks in TypeScript are plainLeafEntries() and
 * contentSumOf() in src/manifest/page_nodes.ts; what is not plain is left to them.
 */
#include "posix.h"

#define PAGE_BYTES 8192
#define PAGE_HEADER_BYTES 24
#define NODE_HEADER_BYTES 8
#define PAGE_ROOM (PAGE_BYTES - PAGE_HEADER_BYTES)
#define KIND_BITS 0x6f
#define LEAF 0x02

struct key {
    const unsigned char *bytes; /* NULL: no bound */
    size_t length;
};

/* CRC-32 (IEEE), eight bytes a step. Made when the library is loaded: pthread_once would
 * ask for glibc 2.34 (old_glibc.h). */
static uint32_t steps[8][256];

static __attribute__((constructor)) void make_steps(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ UINT32_C(0xedb88320) : crc >> 1;
        }
        steps[0][byte] = crc;
    }
    for (int step = 1; step < 8; step++) {
        for (int byte = 0; byte < 256; byte++) {
            const uint32_t before = steps[step - 1][byte];
            steps[step][byte] = (before >> 8) ^ steps[0][before & 0xff];
        }
    }
}

static uint16_t u16_at(const unsigned char *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t u32_at(const unsigned char *at) {
    return (uint32_t)u16_at(at) | (uint32_t)u16_at(at + 2) << 16;
}

static uint64_t u64_at(const unsigned char *at) {
    return (uint64_t)u32_at(at) | (uint64_t)u32_at(at + 4) << 32;
}

static uint32_t crc32_of(const unsigned char *bytes, size_t length) {
    uint32_t crc = UINT32_C(0xffffffff);
    for (; length >= 8; bytes += 8, length -= 8) {
        const uint32_t low = crc ^ u32_at(bytes);
        const uint32_t high = u32_at(bytes + 4);
        crc = steps[7][low & 0xff] ^ steps[6][low >> 8 & 0xff] ^ steps[5][low >> 16 & 0xff] ^
              steps[4][low >> 24] ^ steps[3][high & 0xff] ^ steps[2][high >> 8 & 0xff] ^
              steps[1][high >> 16 & 0xff] ^ steps[0][high >> 24];
    }
    for (; length > 0; bytes++, length--) {
        crc = steps[0][(crc ^ *bytes) & 0xff] ^ crc >> 8;
    }
    return ~crc;
}

static int compare(struct key a, struct key b) {
    const size_t shorter = a.length < b.length ? a.length : b.length;
    const int order = memcmp(a.bytes, b.bytes, shorter);
    if (order != 0) {
        return order;
    }
    return a.length < b.length ? -1 : a.length > b.length;
}

/* Where page says that its node `index` is; NULL if that is not within it. */
static const unsigned char *node_at(const unsigned char *page, int index, int upper) {
    const int pointer = u16_at(page + PAGE_HEADER_BYTES + 2 * index);
    if (pointer < upper || pointer > PAGE_ROOM - NODE_HEADER_BYTES) {
        return NULL;
    }
    return page + PAGE_HEADER_BYTES + pointer;
}

/* The number of nodes; 0 if the header is not sound. */
static int nodes_of(const unsigned char *page) {
    const int lower = u16_at(page + 20);
    const int upper = u16_at(page + 22);
    const bool is_sound = lower % 2 == 0 && lower <= upper && upper <= PAGE_ROOM;
    return is_sound ? lower / 2 : 0;
}

static bool key_of(const unsigned char *page, const unsigned char *node, struct key *out) {
    *out = (struct key){node + NODE_HEADER_BYTES, u16_at(node + 6)};
    return out->length <= (size_t)(page + PAGE_BYTES - out->bytes);
}

/* Adds a plain leaf page with keys in [from, before) to `leaves`; false if it is none. */
static bool add_leaf(const unsigned char *page, struct key from, struct key before,
                     struct p4posix_leaves *leaves) {
    const int nodes = nodes_of(page);
    uint64_t sum = 0;
    struct key last = from;
    for (int i = 0; i < nodes; i++) {
        const unsigned char *node = node_at(page, i, u16_at(page + 22));
        struct key key;
        if (node == NULL || u16_at(node + 4) != 0 || !key_of(page, node, &key)) {
            return false;
        }
        const size_t value_bytes = u32_at(node);
        if (value_bytes > (size_t)(page + PAGE_BYTES - key.bytes) - key.length) {
            return false;
        }
        if (last.bytes != NULL) {
            const int order = compare(last, key);
            if (order > 0 || (order == 0 && i > 0)) {
                return false;
            }
        }
        last = key;
        if (leaves->is_summed != 0) {
            sum += crc32_of(key.bytes, key.length + value_bytes);
        }
    }
    if (nodes == 0 || (before.bytes != NULL && compare(last, before) >= 0)) {
        return false;
    }
    leaves->entries += (uint64_t)nodes;
    leaves->sum = (leaves->sum + sum) & UINT64_C(0xffffffffffff);
    return true;
}

static bool is_leaf(const unsigned char *page, uint64_t number, uint64_t transaction_max) {
    return u64_at(page) == number && u64_at(page + 8) <= transaction_max &&
           (u16_at(page + 18) & KIND_BITS) == LEAF;
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
        const unsigned char *node = node_at(branch, i, u16_at(branch + 22));
        const unsigned char *next =
            i + 1 < nodes ? node_at(branch, i + 1, u16_at(branch + 22)) : NULL;
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
        const uint64_t number = (uint64_t)u32_at(node) | (uint64_t)u16_at(node + 4) << 32;
        unsigned char page[PAGE_BYTES];
        const int done = number > INT64_MAX / PAGE_BYTES
                             ? -EINVAL
                             : read_at(fd, page, PAGE_BYTES, (int64_t)number * PAGE_BYTES);
        verdicts[i] = done == PAGE_BYTES && is_leaf(page, number, leaves->transaction_max) &&
                      add_leaf(page, from, before, leaves);
    }
    return nodes;
}
