/* SPDX-License-Identifier: Apache-2.0 */
/* fuse/commit.c - see commit.h. */
#include "fuse/commit.h"

struct database *commit_find_database(struct mount *mount, const char *path,
                                      enum database_file *ret_kind)
{
    char name[DATABASE_NAME_MAX];
    size_t base;

    *ret_kind = database_file_kind(path, &base);
    ASSERT(base < sizeof name);
    memcpy(name, path, base);
    name[base] = '\0';
    return catalog_find(mount->config.catalog, name);
}

struct database *commit_begin(struct mount *mount, const char *path,
                              const struct os_file *file, bool own)
{
    struct database *database;
    enum database_file kind;
    size_t base;

    if (own || database_file_kind(path, &base) != DATABASE_FILE_JOURNAL)
        return NULL;
    database = commit_find_database(mount, path, &kind);
    if (database != NULL)
        database_on_commit(database, file);
    return database;
}

void commit_end(struct database *database, int rc)
{
    if (database == NULL)
        return;
    database_on_committed(database, rc);
    database_unref(database);
}

bool commit_is_zeroing(const char *bytes, size_t size, off_t offset)
{
    static const char zeros[COMMIT_HEADER_BYTES];

    return offset == 0 && size >= COMMIT_HEADER_BYTES &&
           memcmp(bytes, zeros, COMMIT_HEADER_BYTES) == 0;
}
