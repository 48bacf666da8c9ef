/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuse/inode.c - see inode.h.
 *
 * The kernel's numbers are addresses: no table is needed to follow them, and
 * the kernel gives an address back (FORGET) before it can be used again. Names
 * are found by a hash of parent and name; the table doubles as it fills.
 *
 * Between reading an inode's place and using it the name may move. Callers
 * that hold the directory's lock are safe; others ask inode_place_is_old(),
 * and try again.
 */
#include "fuse/inode.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 256

/* ---- names --------------------------------------------------------------- */

static struct list *bucket_of(struct inode_table *table,
                              const struct inode *parent, const char *name)
{
    uint64_t hash = (uintptr_t)parent;

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    hash ^= hash >> 29;
    return &table->buckets[hash & (table->buckets_count - 1)];
}

static struct inode *find(struct inode_table *table, const struct inode *parent,
                          const char *name)
{
    struct list *bucket = bucket_of(table, parent, name), *link, *safe;

    LIST_EACH(link, safe, bucket)
    {
        struct inode *inode = LIST_ENTRY(link, struct inode, bucket);

        if (inode->parent == parent && strcmp(inode->name, name) == 0)
            return inode;
    }
    return NULL;
}

static struct list *buckets_new(size_t count)
{
    struct list *buckets = calloc(count, sizeof *buckets);

    for (size_t i = 0; buckets != NULL && i < count; i++)
        list_init(&buckets[i]);
    return buckets;
}

/* Without memory the table stays as it is: slower, not wrong. */
static void grow(struct inode_table *table)
{
    struct list *old = table->buckets;
    size_t old_count = table->buckets_count;
    struct list *buckets = buckets_new(old_count * 2), *link;

    if (buckets == NULL)
        return;
    table->buckets = buckets;
    table->buckets_count = old_count * 2;
    for (size_t i = 0; i < old_count; i++)
        while ((link = list_pop(&old[i])) != NULL) {
            struct inode *inode = LIST_ENTRY(link, struct inode, bucket);

            list_push_back(bucket_of(table, inode->parent, inode->name), link);
        }
    free(old);
}

/* ---- life ---------------------------------------------------------------- */

int inode_table_open(struct inode_table *table, int files_fd)
{
    struct inode *root = &table->root;
    struct stat status;
    int rc;

    *table = (struct inode_table){0};
    pthread_mutex_init(&table->lock, NULL);
    pthread_mutex_init(&root->lock, NULL);
    list_init(&table->unlinked);
    root->linked = true;
    root->references = 1; /* ours: the root is never freed */
    table->buckets_count = BUCKETS_FIRST;
    table->buckets = buckets_new(BUCKETS_FIRST);
    if (table->buckets == NULL)
        return site_fail(SITE_INODE_TABLE, NULL, ENOMEM);
    rc = os_open(&root->directory, files_fd, ".", O_PATH | O_DIRECTORY, 0,
                 SITE_INODE_TABLE);
    if (rc == 0 && fstat(root->directory.fd, &status) != 0)
        rc = site_fail(SITE_INODE_TABLE, NULL, errno);
    if (rc == 0)
        rc = inode_identify(&status, &root->identity);
    if (rc < 0)
        inode_table_close(table);
    return rc;
}

static void inode_free(struct inode *inode)
{
    os_close(&inode->file);
    os_close(&inode->directory);
    pthread_mutex_destroy(&inode->lock);
    free(inode->name);
    free(inode);
}

/* Frees what the kernel had not given back when the mount went. */
static void free_all(struct list *list)
{
    struct list *link;

    while ((link = list_pop(list)) != NULL)
        inode_free(LIST_ENTRY(link, struct inode, bucket));
}

void inode_table_close(struct inode_table *table)
{
    if (table->root.references == 0)
        return;
    for (size_t i = 0; table->buckets != NULL && i < table->buckets_count; i++)
        free_all(&table->buckets[i]);
    free_all(&table->unlinked);
    free(table->buckets);
    os_close(&table->root.directory);
    pthread_mutex_destroy(&table->root.lock);
    pthread_mutex_destroy(&table->lock);
    *table = (struct inode_table){0};
}

struct inode *inode_from_number(struct inode_table *table, uint64_t number)
{
    if (number == INODE_ROOT_NUMBER)
        return &table->root;
    ASSERT(number != 0);
    return (struct inode *)(uintptr_t)number;
}

uint64_t inode_number(const struct inode_table *table,
                      const struct inode *inode)
{
    return inode == &table->root ? INODE_ROOT_NUMBER : (uintptr_t)inode;
}

int inode_identify(const struct stat *status,
                   struct inode_identity *ret_identity)
{
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode))
        return -EPERM;
    *ret_identity = (struct inode_identity){
        .type = S_ISDIR(status->st_mode) ? INODE_DIRECTORY : INODE_FILE,
        .device = status->st_dev,
        .number = status->st_ino,
    };
    return 0;
}

bool inode_identity_is_equal(const struct inode_identity *a,
                             const struct inode_identity *b)
{
    return a->type == b->type && a->device == b->device &&
           a->number == b->number && a->virtual == b->virtual;
}

/* Everything of an inode but its place in the table. */
static int inode_make(const struct inode *parent, const char *name,
                      const struct inode_identity *identity,
                      struct inode **ret_inode)
{
    struct inode *inode = calloc(1, sizeof *inode);
    int rc = 0;

    if (inode == NULL)
        return site_fail(SITE_INODE_ENTER, name, ENOMEM);
    pthread_mutex_init(&inode->lock, NULL);
    inode->identity = *identity;
    list_init(&inode->strangers);
    inode->linked = true;
    inode->references = 1;
    inode->name = strdup(name);
    if (inode->name == NULL)
        rc = site_fail(SITE_INODE_ENTER, name, ENOMEM);
    else if (identity->type == INODE_DIRECTORY)
        rc = os_open(&inode->directory, parent->directory.fd, name,
                     O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, SITE_INODE_ENTER);
    if (rc < 0) {
        inode_free(inode);
        return rc;
    }
    *ret_inode = inode;
    return 0;
}

/* Takes the name away; the caller holds table->lock. */
static void unlink_locked(struct inode_table *table, struct inode *inode)
{
    list_remove(&inode->bucket);
    list_push_back(&table->unlinked, &inode->bucket);
    inode->linked = false;
    inode->moves++;
}

static void enter_locked(struct inode_table *table, struct inode *parent,
                         struct inode *inode)
{
    if (table->count >= table->buckets_count)
        grow(table);
    inode->parent = parent;
    parent->references++;
    list_push_back(bucket_of(table, parent, inode->name), &inode->bucket);
    table->count++;
}

int inode_enter(struct inode_table *table, struct inode *parent,
                const char *name, const struct inode_identity *identity,
                struct inode **ret_inode)
{
    struct inode *inode;
    int rc;

    pthread_mutex_lock(&table->lock);
    inode = find(table, parent, name);
    if (inode != NULL && !inode_identity_is_equal(&inode->identity, identity)) {
        unlink_locked(table, inode);
        inode = NULL;
    }
    if (inode != NULL)
        inode->references++;
    pthread_mutex_unlock(&table->lock);
    if (inode == NULL) {
        rc = inode_make(parent, name, identity, &inode);
        if (rc < 0)
            return rc;
        ASSERT(inode != NULL);
        pthread_mutex_lock(&table->lock);
        enter_locked(table, parent, inode);
        pthread_mutex_unlock(&table->lock);
    }
    *ret_inode = inode;
    return 0;
}

struct inode *inode_find(struct inode_table *table, const char *path,
                         struct inode **ret_parent)
{
    struct inode *parent = NULL, *inode = &table->root;
    char name[NAME_MAX + 1];

    pthread_mutex_lock(&table->lock);
    while (inode != NULL && *path != '\0') {
        size_t length = strcspn(path, "/");

        snprintf(name, sizeof name, "%.*s", (int)length, path);
        path += length;
        path += *path == '/';
        parent = inode;
        inode = find(table, parent, name);
    }
    if (inode != NULL && parent != NULL) {
        inode->references++;
        parent->references++;
        *ret_parent = parent;
    }
    pthread_mutex_unlock(&table->lock);
    return parent != NULL ? inode : NULL;
}

void inode_ref(struct inode_table *table, struct inode *inode)
{
    pthread_mutex_lock(&table->lock);
    inode->references++;
    pthread_mutex_unlock(&table->lock);
}

void inode_unref(struct inode_table *table, struct inode *inode,
                 uint64_t references)
{
    /* The last reference of a child is one of its parent's. */
    while (inode != NULL) {
        struct inode *parent = NULL;
        bool last;

        pthread_mutex_lock(&table->lock);
        ASSERT(inode->references >= references);
        inode->references -= references;
        last = inode->references == 0;
        if (last) {
            ASSERT(inode != &table->root && inode->users == 0);
            list_remove(&inode->bucket);
            parent = inode->parent;
            table->count--;
        }
        pthread_mutex_unlock(&table->lock);
        if (last)
            inode_free(inode);
        inode = parent;
        references = 1;
    }
}

void inode_unlinked(struct inode_table *table, struct inode *parent,
                    const char *name)
{
    struct inode *inode;

    pthread_mutex_lock(&table->lock);
    inode = find(table, parent, name);
    if (inode != NULL)
        unlink_locked(table, inode);
    pthread_mutex_unlock(&table->lock);
}

/* Moves inode to its new place; returns the parent that lost it. */
static struct inode *move_locked(struct inode_table *table, struct inode *inode,
                                 struct inode *to_parent, char *to_name)
{
    struct inode *from_parent = inode->parent;

    list_remove(&inode->bucket);
    free(inode->name);
    inode->name = to_name;
    inode->parent = to_parent;
    inode->moves++;
    to_parent->references++;
    list_push_back(bucket_of(table, to_parent, to_name), &inode->bucket);
    return from_parent;
}

void inode_renamed(struct inode_table *table, struct inode *from_parent,
                   const char *from, struct inode *to_parent, const char *to)
{
    char *name = strdup(to);
    struct inode *inode, *target, *lost = NULL;

    pthread_mutex_lock(&table->lock);
    target = find(table, to_parent, to);
    inode = find(table, from_parent, from);
    if (target != NULL && target != inode)
        unlink_locked(table, target);
    if (inode != NULL && name != NULL)
        lost = move_locked(table, inode, to_parent, name);
    else if (inode != NULL)
        unlink_locked(table,
                      inode); /* no memory: the next lookup makes it anew */
    if (lost == NULL)
        free(name);
    pthread_mutex_unlock(&table->lock);
    inode_unref(table, lost, 1);
}

/* ---- paths --------------------------------------------------------------- */

/* Writes "/name" before `at`; NULL when there is no room. */
static char *prepend(char *start, char *at, const char *name)
{
    size_t length = strlen(name);

    if ((size_t)(at - start) < length + 1)
        return NULL;
    at -= length;
    memcpy(at, name, length);
    *--at = '/';
    return at;
}

int inode_path_of(struct inode_table *table, struct inode *parent,
                  const char *name, char *ret_path, size_t size)
{
    char *end = ret_path + size - 1, *at = end;

    *end = '\0';
    if (name != NULL)
        at = prepend(ret_path, at, name);
    pthread_mutex_lock(&table->lock);
    for (; at != NULL && parent->parent != NULL; parent = parent->parent)
        at = prepend(ret_path, at, parent->name);
    pthread_mutex_unlock(&table->lock);
    if (at == NULL)
        return -ENAMETOOLONG;
    if (at < end)
        at++; /* no leading slash */
    memmove(ret_path, at, (size_t)(end - at) + 1);
    return 0;
}

int inode_path(struct inode_table *table, struct inode *inode, char *ret_path,
               size_t size)
{
    return inode_path_of(table, inode, NULL, ret_path, size);
}

bool inode_is_linked(struct inode_table *table, struct inode *inode)
{
    bool linked;

    pthread_mutex_lock(&table->lock);
    linked = inode->linked;
    pthread_mutex_unlock(&table->lock);
    return linked;
}

int inode_place_get(struct inode_table *table, struct inode *inode,
                    struct inode_place *ret_place)
{
    size_t size;
    int rc = -ESTALE;

    pthread_mutex_lock(&table->lock);
    if (inode->linked && inode->parent != NULL) {
        size = strlen(inode->name) + 1;
        ASSERT(size <= sizeof ret_place->name);
        memcpy(ret_place->name, inode->name, size);
        ret_place->parent = inode->parent;
        ret_place->parent->references++;
        ret_place->moves = inode->moves;
        rc = 0;
    }
    pthread_mutex_unlock(&table->lock);
    return rc;
}

void inode_place_done(struct inode_table *table, struct inode_place *place)
{
    inode_unref(table, place->parent, 1);
}

bool inode_place_is_old(struct inode_table *table, struct inode *inode,
                        const struct inode_place *place)
{
    bool moved;

    pthread_mutex_lock(&table->lock);
    moved = inode->moves != place->moves;
    pthread_mutex_unlock(&table->lock);
    return moved;
}
