/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/virtual.c - see virtual.h. A virtual inode is its kind and its path;
 * everything else is asked anew each time, nothing is remembered.
 */
#include "fuse/virtual.h"

#include "wal/token.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOME_NAME ".tidemark"
#define TOKENS_PATH HOME_NAME "/token"
#define WAITS_PATH HOME_NAME "/wait"
#define POSITION_SUFFIX "-pos"
#define TEXT_CACHE_SECONDS 1.0

/* ---- what is where ------------------------------------------------------- */

static bool is_database(struct mount *mount, const char *name)
{
    struct database *database = catalog_find(mount->config.catalog, name);

    database_unref(database);
    return database != NULL;
}

/* Below folder: where its part of a database's name begins, or NULL. */
static const char *below(const char *name, const char *folder)
{
    size_t length = strlen(folder);

    if (length == 0)
        return name;
    if (strncmp(name, folder, length) != 0 || name[length] != '/')
        return NULL;
    return name + length + 1;
}

struct folder_search {
    const char *folder;
    bool found;
};

static void search_visit(void *context, struct database *database)
{
    struct folder_search *search = context;

    if (below(database_name(database), search->folder) != NULL)
        search->found = true;
}

/* Is there a database somewhere below this folder? */
static bool is_folder(struct mount *mount, const char *folder)
{
    struct folder_search search = {.folder = folder};

    catalog_each(mount->config.catalog, search_visit, &search);
    return search.found;
}

/* The part of a path below token/ or wait/ that names a database. */
static const char *database_part(const char *path, unsigned kind)
{
    size_t length = kind == VIRTUAL_TOKENS || kind == VIRTUAL_TOKEN
                        ? strlen(TOKENS_PATH)
                        : strlen(WAITS_PATH);

    ASSERT(strlen(path) >= length);
    return path[length] == '/' ? path + length + 1 : path + length;
}

static int find_token(struct mount *mount, const char *name)
{
    if (is_database(mount, name))
        return VIRTUAL_TOKEN;
    return is_folder(mount, name) ? VIRTUAL_TOKENS : -ENOENT;
}

/*
 * The last component of a wait is the token. A database this node has not
 * heard of yet may be waited for too, so an unknown name is a folder unless
 * it is a token, or stands where only a token can.
 */
static int find_wait(struct mount *mount, const char *path)
{
    char parent[DATABASE_NAME_MAX];
    const char *last = strrchr(path, '/');
    struct token token;

    if (last == NULL || is_database(mount, path) || is_folder(mount, path))
        return VIRTUAL_WAITS;
    snprintf(parent, sizeof parent, "%.*s", (int)(last - path), path);
    if (is_database(mount, parent) ||
        token_parse(last + 1, strlen(last + 1), &token) == 0)
        return VIRTUAL_WAIT;
    return VIRTUAL_WAITS;
}

static int find_in_home(const char *name)
{
    if (strcmp(name, "status.json") == 0)
        return VIRTUAL_STATUS;
    if (strcmp(name, "token") == 0)
        return VIRTUAL_TOKENS;
    return strcmp(name, "wait") == 0 ? VIRTUAL_WAITS : -ENOENT;
}

static bool knows_primary(struct mount *mount)
{
    const struct mount_hooks *hooks = &mount->config.hooks;
    char buffer[MOUNT_PRIMARY_BYTES];

    return hooks->primary_name != NULL &&
           hooks->primary_name(hooks->context, buffer) != NULL;
}

static int find_in_root(struct mount *mount, const char *name)
{
    if (strcmp(name, HOME_NAME) == 0)
        return VIRTUAL_HOME;
    if (strcmp(name, ".lag") == 0)
        return VIRTUAL_LAG;
    if (strcmp(name, ".primary") == 0 && knows_primary(mount))
        return VIRTUAL_PRIMARY;
    return VIRTUAL_NONE;
}

/* Takes "-pos" off a path; false when it does not end so. */
static bool position_base(char *path)
{
    size_t length = strlen(path), suffix = strlen(POSITION_SUFFIX);

    if (length <= suffix ||
        strcmp(path + length - suffix, POSITION_SUFFIX) != 0)
        return false;
    path[length - suffix] = '\0';
    return true;
}

static int find_in_directory(struct mount *mount, struct inode *parent,
                             const char *name, char *path)
{
    int kind = VIRTUAL_NONE;

    if (parent == &mount->table.root && name[0] == '.')
        kind = find_in_root(mount, name);
    if (kind == VIRTUAL_NONE && position_base(path) && is_database(mount, path))
        kind = VIRTUAL_POSITION;
    return kind;
}

int virtual_find(struct mount *mount, struct inode *parent, const char *name)
{
    unsigned kind = parent->identity.virtual;
    char path[DATABASE_NAME_MAX];
    int rc = inode_path_of(&mount->table, parent, name, path, sizeof path);

    if (rc < 0)
        return rc;
    if (parent->identity.type != INODE_VIRTUAL)
        return find_in_directory(mount, parent, name, path);
    if (kind == VIRTUAL_HOME)
        return find_in_home(name);
    if (kind == VIRTUAL_TOKENS)
        return find_token(mount, database_part(path, kind));
    if (kind == VIRTUAL_WAITS)
        return find_wait(mount, database_part(path, kind));
    return -ENOENT;
}

bool virtual_is_reserved(struct mount *mount, struct inode *parent,
                         const char *name)
{
    if (parent->identity.type == INODE_VIRTUAL)
        return true;
    if (parent == &mount->table.root && strcmp(name, ".primary") == 0)
        return true;
    return virtual_find(mount, parent, name) > VIRTUAL_NONE;
}

/* ---- content ------------------------------------------------------------- */

static bool is_directory(unsigned kind)
{
    return kind == VIRTUAL_HOME || kind == VIRTUAL_TOKENS ||
           kind == VIRTUAL_WAITS;
}

struct database *virtual_database(struct mount *mount, struct inode *inode)
{
    unsigned kind = inode->identity.virtual;
    char path[DATABASE_NAME_MAX];

    if (inode_path(&mount->table, inode, path, sizeof path) < 0)
        return NULL;
    if (kind == VIRTUAL_POSITION)
        return position_base(path) ? catalog_find(mount->config.catalog, path)
                                   : NULL;
    return catalog_find(mount->config.catalog, database_part(path, kind));
}

/* Takes a text made by asprintf() and the length it returned. */
static int text_made(char *text, int length, char **ret_text, size_t *ret_size)
{
    if (length < 0)
        return -ENOMEM;
    *ret_text = text;
    *ret_size = (size_t)length;
    return 0;
}

static int text_of_position(const struct database_view *view, char **ret_text,
                            size_t *ret_size)
{
    char *text = NULL;
    int length = asprintf(&text, "%016jx/%016jx\n",
                          (uintmax_t)view->position.txid,
                          (uintmax_t)view->position.sum);

    return text_made(text, length, ret_text, ret_size);
}

static int text_of_token(const struct database_view *view, char **ret_text,
                         size_t *ret_size)
{
    char formatted[TOKEN_TEXT_BYTES], *text = NULL;
    struct token token;
    int length;

    token_make(&view->lineage, &view->position, &token);
    token_format(&token, formatted);
    length = asprintf(&text, "%s\n", formatted);
    return text_made(text, length, ret_text, ret_size);
}

static int text_of_database(struct mount *mount, struct inode *inode,
                            char **ret_text, size_t *ret_size)
{
    struct database *database = virtual_database(mount, inode);
    struct database_view view;

    if (database == NULL)
        return -ENOENT;
    database_view(database, &view);
    database_unref(database);
    if (inode->identity.virtual == VIRTUAL_POSITION)
        return text_of_position(&view, ret_text, ret_size);
    return text_of_token(&view, ret_text, ret_size);
}

static int text_of_primary(const struct mount_hooks *hooks, char **ret_text,
                           size_t *ret_size)
{
    char buffer[MOUNT_PRIMARY_BYTES], *text = NULL;
    const char *name = NULL;
    int length;

    if (hooks->primary_name != NULL)
        name = hooks->primary_name(hooks->context, buffer);
    if (name == NULL)
        return -ENOENT;
    length = asprintf(&text, "%s\n", name);
    return text_made(text, length, ret_text, ret_size);
}

static int text_of_lag(const struct mount_hooks *hooks, char **ret_text,
                       size_t *ret_size)
{
    int64_t lag_ms = hooks->lag_ms != NULL ? hooks->lag_ms(hooks->context) : 0;
    char *text = NULL;
    int length = asprintf(&text, "%+010jd\n", (intmax_t)lag_ms);

    return text_made(text, length, ret_text, ret_size);
}

int virtual_text(struct mount *mount, struct inode *inode, char **ret_text,
                 size_t *ret_size)
{
    const struct mount_hooks *hooks = &mount->config.hooks;

    switch ((enum virtual_kind)inode->identity.virtual) {
    case VIRTUAL_PRIMARY:
        return text_of_primary(hooks, ret_text, ret_size);
    case VIRTUAL_LAG:
        return text_of_lag(hooks, ret_text, ret_size);
    case VIRTUAL_POSITION:
    case VIRTUAL_TOKEN:
        return text_of_database(mount, inode, ret_text, ret_size);
    case VIRTUAL_STATUS:
        return hooks->status_json == NULL
                   ? -ENOENT
                   : hooks->status_json(hooks->context, ret_text, ret_size);
    case VIRTUAL_WAIT:
        *ret_text = NULL;
        *ret_size = 0;
        return 0;
    case VIRTUAL_NONE:
    case VIRTUAL_HOME:
    case VIRTUAL_TOKENS:
    case VIRTUAL_WAITS:
        break;
    }
    return -EISDIR;
}

int virtual_wait(struct mount *mount, struct inode *inode,
                 char ret_name[DATABASE_NAME_MAX], char ret_token[NAME_MAX + 1])
{
    char path[DATABASE_NAME_MAX];
    const char *name, *last;
    int rc = inode_path(&mount->table, inode, path, sizeof path);

    if (rc < 0)
        return rc;
    name = database_part(path, VIRTUAL_WAIT);
    last = strrchr(name, '/');
    ASSERT(last != NULL && strlen(last + 1) <= NAME_MAX);
    snprintf(ret_name, DATABASE_NAME_MAX, "%.*s", (int)(last - name), name);
    snprintf(ret_token, NAME_MAX + 1, "%.*s", NAME_MAX, last + 1);
    return 0;
}

/* .tidemark, and token/ and wait/ in it: they are always there. */
static bool is_permanent(struct mount *mount, struct inode *inode)
{
    char path[DATABASE_NAME_MAX];

    return is_directory(inode->identity.virtual) &&
           inode_path(&mount->table, inode, path, sizeof path) == 0 &&
           (strcmp(path, HOME_NAME) == 0 || strcmp(path, TOKENS_PATH) == 0 ||
            strcmp(path, WAITS_PATH) == 0);
}

double virtual_cache_seconds(struct mount *mount, struct inode *inode)
{
    unsigned kind = inode->identity.virtual;

    if (is_permanent(mount, inode))
        return SESSION_CACHE_SECONDS;
    return kind == VIRTUAL_TOKEN || kind == VIRTUAL_POSITION ||
                   kind == VIRTUAL_WAIT
               ? TEXT_CACHE_SECONDS
               : 0;
}

/*
 * Names of databases are for who owns the mount (see fuse.uid and fuse.gid):
 * they may lie in folders that others cannot look into. Who knows a name may
 * take its token and wait for it.
 */
static mode_t mode_of(unsigned kind)
{
    switch ((enum virtual_kind)kind) {
    case VIRTUAL_HOME:
        return S_IFDIR | 0555;
    case VIRTUAL_TOKENS:
    case VIRTUAL_WAITS:
        return S_IFDIR | 0551;
    case VIRTUAL_STATUS:
        return S_IFREG | 0440;
    case VIRTUAL_NONE:
    case VIRTUAL_PRIMARY:
    case VIRTUAL_LAG:
    case VIRTUAL_POSITION:
    case VIRTUAL_TOKEN:
    case VIRTUAL_WAIT:
        break;
    }
    return S_IFREG | 0444;
}

int virtual_stat(struct mount *mount, struct inode *inode,
                 struct stat *ret_status)
{
    bool directory = is_directory(inode->identity.virtual);
    struct stat status = {
        .st_ino = (ino_t)(UINT64_C(1) << 62 | (uintptr_t)inode >> 4),
        .st_mode = mode_of(inode->identity.virtual),
        .st_nlink = directory ? 2 : 1,
        .st_uid = geteuid(),
        .st_gid = getegid(),
        .st_blksize = 4096,
    };
    char *text;
    size_t size;
    int rc;

    if (!directory) {
        rc = virtual_text(mount, inode, &text, &size);
        if (rc < 0)
            return rc;
        free(text);
        status.st_size = (off_t)size;
    }
    clock_gettime(CLOCK_REALTIME, &status.st_mtim);
    status.st_atim = status.st_ctim = status.st_mtim;
    *ret_status = status;
    return 0;
}

/* ---- listings ------------------------------------------------------------ */

struct listing {
    const char *folder;
    bool (*visit)(void *context, const char *name, bool directory);
    void *context;
    bool databases_are_folders;
    bool full;
};

static void list_visit(void *context, struct database *database)
{
    struct listing *listing = context;
    const char *name = below(database_name(database), listing->folder);
    const char *slash;
    char first[NAME_MAX + 1];

    if (name == NULL || listing->full)
        return;
    slash = strchrnul(name, '/');
    snprintf(first, sizeof first, "%.*s", (int)(slash - name), name);
    listing->full = !listing->visit(listing->context, first,
                                    *slash != '\0' ||
                                        listing->databases_are_folders);
}

int virtual_list(struct mount *mount, struct inode *inode,
                 bool (*visit)(void *context, const char *name, bool directory),
                 void *context)
{
    unsigned kind = inode->identity.virtual;
    char path[DATABASE_NAME_MAX];
    struct listing listing = {
        .visit = visit,
        .context = context,
        .databases_are_folders = kind == VIRTUAL_WAITS,
    };
    int rc = inode_path(&mount->table, inode, path, sizeof path);

    if (rc < 0)
        return rc;
    if (kind == VIRTUAL_HOME) {
        (void)(visit(context, "status.json", false) &&
               visit(context, "token", true) && visit(context, "wait", true));
        return 0;
    }
    listing.folder = database_part(path, kind);
    catalog_each(mount->config.catalog, list_visit, &listing);
    return 0;
}
