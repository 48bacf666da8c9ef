/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal/discover.c - see discover.h.
 *
 * The walk costs a readdir for each folder and, for each file that is no
 * database of ours yet, an open and a read of its first bytes: what we know,
 * by name, is not touched. Names are never followed through a link, and a
 * FIFO that took the place of a file is not waited for.
 */
#include "wal/discover.h"

#include "wal/catalog.h"
#include "wal/journal.h"
#include "wal/notes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper than any name of a database can be. */
#define DEPTH_MAX (DATABASE_NAME_MAX / 2)
#define SQLITE_PATH_MAX 512u /* SQLite opens no longer one */

/* ---- one file ------------------------------------------------------------ */

bool discover_has_header(const struct os_file *file)
{
    uint8_t bytes[PAGE_HEADER_BYTES];
    struct page_header header;
    ssize_t n = os_pread(file, bytes, sizeof bytes, 0, SITE_HOOKS_READ);

    return n > 0 && page_header_decode(bytes, (size_t)n, &header) == 0;
}

bool discover_status(struct catalog *catalog, const char *name,
                     struct stat *ret_status)
{
    char path[DATABASE_NAME_MAX + 16];

    snprintf(path, sizeof path, "files/%s", name);
    return fstatat(catalog->config.data_fd, path, ret_status,
                   AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(ret_status->st_mode);
}

bool discover_name_is_clean(const char *name)
{
    for (const char *at = name; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    return true;
}

static void tell(struct catalog *catalog, enum database_event event,
                 const char *name, const char *text)
{
    if (catalog->config.on_event != NULL)
        catalog->config.on_event(catalog->config.context, event, name, text);
}

int discover_refuse_name(struct catalog *catalog, const char *name)
{
    tell(catalog, DATABASE_EVENT_REFUSED, name,
         "a database's name has no control characters; rename the file");
    return -EINVAL;
}

struct database *discover_adopt(struct catalog *catalog, const char *name)
{
    struct database *database;
    struct lineage lineage;
    struct stat status;

    if (catalog->config.role != DATABASE_PRIMARY ||
        !discover_status(catalog, name, &status))
        return NULL;
    if (!discover_name_is_clean(name)) {
        (void)discover_refuse_name(catalog, name);
        return NULL;
    }
    if (catalog_draw_lineage(&lineage) < 0)
        return NULL;
    database = catalog_make(catalog, name, &lineage);
    if (database == NULL)
        return NULL;
    database->view.owner_uid = status.st_uid;
    database->view.owner_gid = status.st_gid;
    database->view.owner_mode = status.st_mode & 07777;
    if (catalog_add(catalog, database) < 0) {
        database_unref(database); /* somebody was faster */
        return catalog_find(catalog, name);
    }
    notes_post(database, note_new(NOTE_ADOPT));
    return database;
}

/* ---- the walk ------------------------------------------------------------ */

struct walk {
    struct catalog *catalog;
    char name[DATABASE_NAME_MAX + 1]; /* of what is looked at, below files/ */
};

/* SQLite would recover from what stands beside it. */
static bool has_companion(int dirfd, const char *file)
{
    uint8_t bytes[FRAME_WAL_HEADER_BYTES];
    struct frame_wal_header header;
    struct os_file companion = {0};
    char path[NAME_MAX + 16];
    bool found = false;

    snprintf(path, sizeof path, "%s-wal", file);
    if (os_open(&companion, dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                SITE_DISCOVER_READ) == 0)
        found = os_pread(&companion, bytes, sizeof bytes, 0,
                         SITE_DISCOVER_READ) == (ssize_t)sizeof bytes &&
                frame_wal_header_decode(bytes, &header) == 0;
    os_close(&companion);
    snprintf(path, sizeof path, "%s-journal", file);
    if (!found &&
        os_open(&companion, dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0,
                SITE_DISCOVER_READ) == 0)
        found = journal_is_hot(&companion) == 1;
    os_close(&companion);
    return found;
}

/* 1: a database; 0: another file; negative: nobody can tell. */
static int look(int dirfd, const char *file)
{
    struct os_file opened = {0};
    struct stat status;
    int rc = os_open(&opened, dirfd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK,
                     0, SITE_DISCOVER_READ);

    if (rc < 0)
        return rc == -ENOENT || rc == -ELOOP || rc == -ENXIO ? 0 : rc;
    if (fstat(opened.fd, &status) == 0 && S_ISREG(status.st_mode))
        rc = discover_has_header(&opened) || has_companion(dirfd, file);
    os_close(&opened);
    return rc;
}

/* With the mount before it, and a journal's ending behind. */
static bool is_too_long(const struct walk *walk)
{
    return strlen(walk->catalog->config.mount_path) + 1 + strlen(walk->name) +
               strlen("-journal") >
           SQLITE_PATH_MAX;
}

static void database_found(struct walk *walk)
{
    struct catalog *catalog = walk->catalog;

    if (catalog->config.role != DATABASE_PRIMARY)
        tell(catalog, DATABASE_EVENT_STRANGE, walk->name,
             "it did not come from the primary: it is not followed, and moves "
             "to lost/ when the primary has a database of this name");
    else if (is_too_long(walk))
        tell(catalog, DATABASE_EVENT_REFUSED, walk->name,
             "SQLite opens no path of this length in the mount; it is no "
             "database until it has a shorter name");
    else
        database_unref(discover_adopt(catalog, walk->name));
}

static void file_found(struct walk *walk, int dirfd, const char *file)
{
    struct catalog *catalog = walk->catalog;
    struct database *database;
    size_t base;
    int rc;

    if (database_file_kind(walk->name, &base) != DATABASE_FILE_MAIN)
        return;
    database = catalog_find(catalog, walk->name);
    database_unref(database);
    if (database != NULL)
        return;
    rc = look(dirfd, file);
    if (rc < 0)
        tell(catalog, DATABASE_EVENT_FAILED, walk->name, site_failure());
    else if (rc > 0)
        database_found(walk);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* DT_REG, DT_DIR, or anything else for what is neither. */
static unsigned char type_of(int dirfd, const struct dirent *entry)
{
    struct stat status;

    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type;
    if (fstatat(dirfd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return DT_UNKNOWN;
    if (S_ISDIR(status.st_mode))
        return DT_DIR;
    return S_ISREG(status.st_mode) ? DT_REG : DT_UNKNOWN;
}

static int folder_walk(struct walk *walk, int parent, const char *path,
                       unsigned depth);

static void entry_found(struct walk *walk, int dirfd,
                        const struct dirent *entry, unsigned depth)
{
    size_t length = strlen(walk->name), more = strlen(entry->d_name);
    unsigned char type = type_of(dirfd, entry);

    if (type != DT_REG && type != DT_DIR)
        return;
    if (length + (length > 0) + more > DATABASE_NAME_MAX) {
        tell(walk->catalog, DATABASE_EVENT_REFUSED, walk->name,
             "what is in this folder has a longer path than a database may; "
             "it is not looked at");
        return;
    }
    if (length > 0)
        walk->name[length] = '/';
    memcpy(walk->name + length + (length > 0), entry->d_name, more + 1);
    if (type == DT_REG)
        file_found(walk, dirfd, entry->d_name);
    else if (depth < DEPTH_MAX &&
             folder_walk(walk, dirfd, entry->d_name, depth + 1) < 0)
        tell(walk->catalog, DATABASE_EVENT_FAILED, walk->name, site_failure());
    walk->name[length] = '\0';
}

static int folder_walk(struct walk *walk, int parent, const char *path,
                       unsigned depth)
{
    int fd = os_openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    struct dirent *entry;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (dir == NULL) {
        int error = errno;

        if (fd >= 0)
            close(fd);
        return site_fail(SITE_DISCOVER_READ, walk->name, error);
    }
    while ((entry = readdir(dir)) != NULL)
        if (!is_dots(entry->d_name))
            entry_found(walk, fd, entry, depth);
    closedir(dir);
    return 0;
}

int discover_all(struct catalog *catalog)
{
    struct walk walk = {.catalog = catalog};

    return folder_walk(&walk, catalog->config.data_fd, "files", 0);
}
