/*
 * sealed_rows.c - finds the row of a path in the manifest's file (pages.h), for the one question
 * that is asked for every open and every file of a scan. LMDB answers it, too; but it waits for
 * memory at each step of each search, and is called twice.
 *
 * It tells a row only if that is of version 2 and sealed: its last four bytes are the CRC-32C of the
 * path and of all before. What it does not find, or does not understand, it does not tell, and LMDB
 * is asked.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "pages.h"

#define MAGIC UINT32_C(0xbeefc0de)
#define FORMAT 2
#define SUBTREE 0x02
#define ID_BYTES 8
#define SEAL_BYTES 4
/* Of a row of version 2 (src/manifest/file_entry_codec.ts): "P4FE"; fixed part and seal. */
#define ROW_MAGIC UINT32_C(0x45463450)
#define ROW_VERSION 2
#define ROW_BYTES_MIN 104
/* Room for the file to grow before it is mapped anew. */
#define MAP_MORE_BYTES (INT64_C(1) << 30)
/* More than any tree has: pages hold two nodes or more, and page numbers have 48 bits. */
#define DEPTH_MAX 48
/* So many nodes are asked for at once, and compared when they are there. */
#define WAYS 16
#define LINE_BYTES 64

struct tree {
    uint64_t root;
    int depth;
};

struct p4posix_rows {
    int fd; /* not ours to close */
    unsigned char *mapped;
    size_t mapped_bytes;
    uint64_t page_count;
    uint64_t transaction;
    struct tree by_path;
    struct tree by_id;
};

static const unsigned char *page_at(const struct p4posix_rows *rows, uint64_t number, int kind) {
    if (number >= rows->page_count) {
        return NULL;
    }
    const unsigned char *page = rows->mapped + number * PAGE_BYTES;
    return is_page(page, number, kind, rows->transaction) ? page : NULL;
}

static bool is_key_at(const unsigned char *page, int index, struct key key) {
    const unsigned char *node = node_at(page, index);
    struct key found;
    return node != NULL && key_of(page, node, &found) && compare_keys(found, key) == 0;
}

/*
 * Ids are given one after the other, so that an id mostly stands as many nodes behind the first
 * of its page as it is greater. -1 if that is not so.
 */
static int place_of_id(const unsigned char *page, int nodes, struct key id) {
    const unsigned char *first = node_at(page, 0);
    struct key least;
    if (id.length != ID_BYTES || first == NULL || !key_of(page, first, &least) ||
        least.length != ID_BYTES) {
        return -1;
    }
    const uint64_t place =
        __builtin_bswap64(u64_at(id.bytes)) - __builtin_bswap64(u64_at(least.bytes));
    return place < (uint64_t)nodes && is_key_at(page, (int)place, id) ? (int)place : -1;
}

/* Asks memory for a node, where its key begins to differ from its neighbours'. */
static inline void ask_for(const unsigned char *page, int index, size_t key_bytes) {
    const unsigned char *node =
        page + PAGE_HEADER_BYTES + u16_at(page + PAGE_HEADER_BYTES + 2 * index);
    __builtin_prefetch(node + (key_bytes > LINE_BYTES ? LINE_BYTES : 0));
}

/*
 * The last node whose key is not greater than `key`, or the first; -1 if there is none, or one
 * that was looked at is not within the page. Memory is what takes the time, and answers many
 * questions at once: it is asked for WAYS nodes, which are then searched.
 */
static int search(const unsigned char *page, struct key key) {
    int low = 0;
    int high = nodes_of(page);
    const int place = place_of_id(page, high, key);
    if (place >= 0 || high == 0) {
        return place;
    }
    while (high - low > 1) {
        const int step = (high - low + WAYS - 1) / WAYS;
        for (int i = low + step; i < high; i += step) {
            ask_for(page, i, key.length);
        }
        int behind = low + (high - low + step - 1) / step * step;
        while (behind - low > step) {
            const int middle = low + (behind - low) / step / 2 * step;
            const unsigned char *node = node_at(page, middle);
            struct key found;
            if (node == NULL || !key_of(page, node, &found)) {
                return -1;
            }
            if (compare_keys(found, key) <= 0) {
                low = middle;
            } else {
                behind = middle;
            }
        }
        high = behind < high ? behind : high;
    }
    return low;
}

/* The value of `key` in a leaf page below `tree`, with the flags of its node. */
static bool find(const struct p4posix_rows *rows, struct tree tree, struct key key, int flags,
                 struct key *value) {
    uint64_t number = tree.root;
    for (int level = 1; level <= tree.depth; level++) {
        const bool is_leaf = level == tree.depth;
        const unsigned char *page = page_at(rows, number, is_leaf ? LEAF : BRANCH);
        const int index = page == NULL ? -1 : search(page, key);
        const unsigned char *node = index < 0 ? NULL : node_at(page, index);
        if (node == NULL) {
            return false;
        }
        if (is_leaf) {
            return u16_at(node + 4) == flags && is_key_at(page, index, key) &&
                   value_of(page, node, (struct key){node + NODE_HEADER_BYTES, key.length}, value);
        }
        number = child_of(node);
    }
    return false;
}

static struct tree tree_at(const unsigned char *at) {
    return (struct tree){.root = u64_at(at + 40), .depth = u16_at(at + 6)};
}

static bool find_table(const struct p4posix_rows *rows, struct tree tables, const char *name,
                       struct tree *out) {
    struct key value;
    /* With its NUL, as `lmdb` names them. */
    const struct key key = {(const unsigned char *)name, strlen(name) + 1};
    if (!find(rows, tables, key, SUBTREE, &value) || value.length != 48) {
        return false;
    }
    *out = tree_at(value.bytes);
    return out->depth <= DEPTH_MAX;
}

static uint64_t transaction_of(const unsigned char *meta) {
    return u64_at(meta + 152);
}

/* The newer of the two meta pages. */
static const unsigned char *newest_meta(const struct p4posix_rows *rows) {
    const unsigned char *even = rows->mapped;
    const unsigned char *odd = rows->mapped + PAGE_BYTES;
    return transaction_of(even) > transaction_of(odd) ? even : odd;
}

static bool is_meta(const unsigned char *page, uint64_t number) {
    return is_page(page, number, META, UINT64_MAX) && u32_at(page + 24) == MAGIC &&
           u32_at(page + 28) == FORMAT && u32_at(page + 48) == PAGE_BYTES &&
           transaction_of(page) % 2 == number;
}

/* Maps what there is of the file, and room for more. On failure there is no page to look at. */
static int map_file(struct p4posix_rows *rows) {
    rows->page_count = 0;
    struct stat st;
    if (fstat(rows->fd, &st) != 0) {
        return failure();
    }
    if (rows->mapped == NULL || (uint64_t)st.st_size > rows->mapped_bytes) {
        const size_t bytes = (size_t)(st.st_size + MAP_MORE_BYTES);
        void *mapped = mmap(NULL, bytes, PROT_READ, MAP_SHARED, rows->fd, 0);
        if (mapped == MAP_FAILED) {
            return failure();
        }
        if (rows->mapped != NULL) {
            munmap(rows->mapped, rows->mapped_bytes);
        }
        rows->mapped = mapped;
        rows->mapped_bytes = bytes;
    }
    rows->page_count = (uint64_t)st.st_size / PAGE_BYTES;
    return 0;
}

/* For the manifest's file `fd`, which stays open. */
P4POSIX_EXPORT int p4posix_rows_open(int fd, struct p4posix_rows **out) {
    struct p4posix_rows *rows = calloc(1, sizeof *rows);
    if (rows == NULL) {
        return -ENOMEM;
    }
    rows->fd = fd;
    *out = rows;
    return 0;
}

P4POSIX_EXPORT void p4posix_rows_close(struct p4posix_rows *rows) {
    if (rows->mapped != NULL) {
        munmap(rows->mapped, rows->mapped_bytes);
    }
    free(rows);
}

/*
 * Takes the newest transaction for the one that is asked about from now on: nobody may be
 * committing. Fails with EBADMSG if the file is not as LMDB leaves it.
 */
P4POSIX_EXPORT int p4posix_rows_renew(struct p4posix_rows *rows) {
    const int result = map_file(rows);
    if (result < 0) {
        return result;
    }
    if (rows->page_count < 2 || !is_meta(rows->mapped, 0) ||
        !is_meta(rows->mapped + PAGE_BYTES, 1)) {
        return -EBADMSG;
    }
    const unsigned char *newest = newest_meta(rows);
    rows->transaction = transaction_of(newest);
    const struct tree tables = tree_at(newest + 96);
    const bool is_found = tables.depth <= DEPTH_MAX &&
                          find_table(rows, tables, "files_by_path", &rows->by_path) &&
                          find_table(rows, tables, "rows_by_id", &rows->by_id);
    return is_found ? 0 : -EBADMSG;
}

static bool is_sealed(const unsigned char *row, size_t length, struct key path) {
    const size_t content = length - SEAL_BYTES;
    const uint32_t label = crc32c_after(UINT32_MAX, path.bytes, path.length);
    return u32_at(row) == ROW_MAGIC && row[4] == ROW_VERSION &&
           u32_at(row + content) == ~crc32c_after(label, row, content);
}

/*
 * Looks for the row of `path`, and puts its id and the row itself into `memory`. Returns the
 * row's length, or -ENOENT if it cannot tell: also if somebody committed since it was renewed.
 */
P4POSIX_EXPORT int p4posix_rows_find(const struct p4posix_rows *rows, const unsigned char *path,
                                     int path_bytes, unsigned char *memory, int memory_bytes) {
    const struct key name = {path, (size_t)path_bytes};
    struct key id;
    struct key row;
    if (rows->page_count < 2 || transaction_of(newest_meta(rows)) != rows->transaction ||
        !find(rows, rows->by_path, name, 0, &id) || id.length != ID_BYTES ||
        !find(rows, rows->by_id, id, 0, &row) || row.length < ROW_BYTES_MIN ||
        row.length > (size_t)(memory_bytes - ID_BYTES)) {
        return -ENOENT;
    }
    memcpy(memory, id.bytes, ID_BYTES);
    unsigned char *copy = memory + ID_BYTES;
    memcpy(copy, row.bytes, row.length);
    return is_sealed(copy, row.length, name) ? (int)row.length : -ENOENT;
}
