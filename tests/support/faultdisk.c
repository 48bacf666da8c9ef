/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/faultdisk.c - see faultdisk.h.
 *
 * Events are kept in one array and never merged: each knows whether it is
 * durable. An object knows the places of its own events (those of a directory
 * are the names in it), and how many of them its last sync has seen. A state
 * is then all durable events, and those that fate keeps, done in their order.
 */
#include "tests/support/faultdisk.h"

#include "tests/support/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

const char *const faultdisk_fates[FAULTDISK_FATES] = {
    "lost", "kept", "prefix", "free", "torn",
};

enum { FROM = 1, TO = 2 }; /* directories that a name waits for */

struct change {
    struct trace_item item;
    uint8_t waits; /* syncs it still needs; 0: it is durable */
    bool doomed;   /* a sync of it has failed */
    bool is_there; /* of the state that is being written */
    bool is_torn;
};

struct object {
    uint32_t *changes; /* places in the disk's array, ascending */
    size_t count, capacity, synced;
    bool is_directory;
    const char *first_path; /* of the state: where its content is already */
};

struct entry {
    uint64_t parent, object;
    const char *name;
};

struct faultdisk {
    enum faultdisk_kind kind;
    struct change *changes;
    size_t count, capacity;
    struct object *objects; /* by number */
    size_t object_count;
    size_t journaled;      /* names before this one are durable (journal) */
    struct entry *entries; /* names of the state that is being written */
    size_t entry_count, entry_capacity;
};

static void *grown(void *array, size_t need, size_t *capacity, size_t size)
{
    size_t room = *capacity;

    if (need <= room)
        return array;
    while (room < need)
        room = room == 0 ? 16 : 2 * room;
    array = realloc(array, room * size);
    if (array == NULL)
        abort(); /* a test program */
    memset((char *)array + *capacity * size, 0, (room - *capacity) * size);
    *capacity = room;
    return array;
}

struct faultdisk *faultdisk_new(enum faultdisk_kind kind)
{
    struct faultdisk *disk = calloc(1, sizeof *disk);

    if (disk == NULL)
        abort();
    disk->kind = kind;
    disk->objects = grown(NULL, TRACE_ROOT + 1, &disk->object_count,
                          sizeof *disk->objects);
    disk->objects[TRACE_ROOT].is_directory = true;
    return disk;
}

void faultdisk_free(struct faultdisk *disk)
{
    for (size_t i = 0; i < disk->object_count; i++)
        free(disk->objects[i].changes);
    free(disk->objects);
    free(disk->changes);
    free(disk->entries);
    free(disk);
}

/* ---- what is durable ----------------------------------------------------- */

static bool is_name(const struct change *change)
{
    return change->item.event.kind >= TRACE_CREATE &&
           change->item.event.kind <= TRACE_RENAME;
}

static struct object *object_of(struct faultdisk *disk, uint64_t number)
{
    disk->objects = grown(disk->objects, number + 1, &disk->object_count,
                          sizeof *disk->objects);
    return &disk->objects[number];
}

static void object_add(struct faultdisk *disk, uint64_t number, size_t place)
{
    struct object *object = object_of(disk, number);

    object->changes = grown(object->changes, object->count + 1,
                            &object->capacity, sizeof *object->changes);
    object->changes[object->count++] = (uint32_t)place;
}

/* Which of its directories `number` is, or all of a change of content. */
static uint8_t share_of(const struct change *change, uint64_t number)
{
    uint8_t share = 0;

    if (!is_name(change))
        return FROM;
    if (change->item.event.parent == number)
        share |= FROM;
    if (change->item.event.kind == TRACE_RENAME &&
        change->item.event.parent_to == number)
        share |= TO;
    return share;
}

static void take_sync(struct faultdisk *disk, const struct trace_event *event)
{
    struct object *object = object_of(disk, event->object);

    if (event->error != 0 && object->is_directory)
        return;
    for (; object->synced < object->count; object->synced++) {
        struct change *change = &disk->changes[object->changes[object->synced]];

        if (event->error != 0)
            change->doomed = true;
        else if (!change->doomed)
            change->waits &= (uint8_t)~share_of(change, event->object);
    }
    if (disk->kind == FAULTDISK_JOURNAL && event->error == 0)
        for (; disk->journaled < disk->count; disk->journaled++)
            if (is_name(&disk->changes[disk->journaled]))
                disk->changes[disk->journaled].waits = 0;
}

static void take_base(struct faultdisk *disk)
{
    for (size_t i = 0; i < disk->count; i++)
        disk->changes[i].waits = 0;
}

static void take_change(struct faultdisk *disk, const struct trace_item *item)
{
    const struct trace_event *event = &item->event;
    struct change *change;

    disk->changes = grown(disk->changes, disk->count + 1, &disk->capacity,
                          sizeof *disk->changes);
    change = &disk->changes[disk->count];
    *change = (struct change){.item = *item, .waits = FROM};
    if (!is_name(change)) {
        object_add(disk, event->object, disk->count);
    } else {
        object_add(disk, event->parent, disk->count);
        if (event->kind == TRACE_RENAME && event->parent_to != event->parent) {
            object_add(disk, event->parent_to, disk->count);
            change->waits = FROM | TO;
        }
        if (event->kind == TRACE_MKDIR)
            object_of(disk, event->object)->is_directory = true;
        else
            (void)object_of(disk, event->object);
    }
    disk->count++;
}

void faultdisk_take(struct faultdisk *disk, const struct trace_item *item)
{
    const struct trace_event *event = &item->event;

    if (event->kind == TRACE_SYNC || event->kind == TRACE_SYNC_DIR)
        take_sync(disk, event);
    else if (event->kind == TRACE_BASE)
        take_base(disk);
    else if (event->kind != TRACE_MARK && event->error == 0)
        take_change(disk, item);
}

/* ---- what is there after the cut ----------------------------------------- */

static size_t first_waiting(const struct faultdisk *disk)
{
    size_t i = 0;

    while (i < disk->count && disk->changes[i].waits == 0)
        i++;
    return i;
}

/* A write whose every second sector, say, is there. */
static void tear_one(struct faultdisk *disk, struct rng *rng)
{
    struct change *torn = NULL;
    uint64_t seen = 0;

    for (size_t i = 0; i < disk->count; i++) {
        struct change *change = &disk->changes[i];

        if (change->waits != 0 && change->item.event.kind == TRACE_WRITE &&
            change->item.event.data_bytes > FAULTDISK_SECTOR &&
            rng_below(rng, ++seen) == 0)
            torn = change;
    }
    if (torn != NULL)
        torn->is_there = torn->is_torn = true;
}

static void choose(struct faultdisk *disk, enum faultdisk_fate fate,
                   struct rng *rng)
{
    size_t first = first_waiting(disk);
    size_t end = rng_between(rng, first, disk->count);
    size_t names_end = rng_between(rng, first, disk->count);
    bool in_order = disk->kind == FAULTDISK_JOURNAL;

    for (size_t i = 0; i < disk->count; i++) {
        struct change *change = &disk->changes[i];
        bool luck = rng_chance(rng, 50);

        if (in_order && is_name(change))
            luck = i < names_end;
        change->is_torn = false;
        change->is_there = change->waits == 0 || fate == FAULTDISK_KEPT ||
                           (fate == FAULTDISK_PREFIX && i < end) ||
                           (fate >= FAULTDISK_FREE && luck);
    }
    if (fate == FAULTDISK_TORN)
        tear_one(disk, rng);
}

static struct entry *entry_find(struct faultdisk *disk, uint64_t parent,
                                const char *name)
{
    for (size_t i = 0; i < disk->entry_count; i++)
        if (disk->entries[i].parent == parent &&
            strcmp(disk->entries[i].name, name) == 0)
            return &disk->entries[i];
    return NULL;
}

/* From now on the name is that object's; 0: nobody's. */
static void entry_set(struct faultdisk *disk, uint64_t parent, const char *name,
                      uint64_t object)
{
    struct entry *entry = entry_find(disk, parent, name);

    if (object == 0) {
        if (entry != NULL)
            *entry = disk->entries[--disk->entry_count];
        return;
    }
    if (entry == NULL) {
        disk->entries = grown(disk->entries, disk->entry_count + 1,
                              &disk->entry_capacity, sizeof *disk->entries);
        entry = &disk->entries[disk->entry_count++];
    }
    *entry = (struct entry){parent, object, name};
}

static void entries_make(struct faultdisk *disk)
{
    disk->entry_count = 0;
    for (size_t i = 0; i < disk->count; i++) {
        const struct trace_item *item = &disk->changes[i].item;
        const struct trace_event *event = &item->event;
        bool goes = event->kind == TRACE_UNLINK || event->kind == TRACE_RMDIR ||
                    event->kind == TRACE_RENAME;

        if (!disk->changes[i].is_there || !is_name(&disk->changes[i]))
            continue;
        entry_set(disk, event->parent, item->name, goes ? 0 : event->object);
        if (event->kind == TRACE_RENAME)
            entry_set(disk, event->parent_to, item->name_to, event->object);
    }
}

/* ---- writing it down ----------------------------------------------------- */

struct content {
    uint8_t *bytes;
    size_t size, capacity;
    uint32_t mode, uid, gid;
    uint64_t mtime_ns;
};

static void content_resize(struct content *content, size_t size)
{
    content->bytes = grown(content->bytes, size, &content->capacity, 1);
    if (size > content->size)
        memset(content->bytes + content->size, 0, size - content->size);
    content->size = size;
}

static void content_write(struct content *content, const struct change *change,
                          struct rng *rng)
{
    const struct trace_event *event = &change->item.event;
    size_t at = event->offset, end = at + event->data_bytes, next;

    if (end > content->size)
        content_resize(content, end);
    for (; at < end; at = next) {
        next = (at / FAULTDISK_SECTOR + 1) * FAULTDISK_SECTOR;
        next = next < end ? next : end;
        if (!change->is_torn || rng_chance(rng, 50))
            memcpy(content->bytes + at,
                   change->item.data + (at - event->offset), next - at);
    }
}

static void content_take(struct content *content, const struct change *change,
                         struct rng *rng)
{
    const struct trace_event *event = &change->item.event;

    if (event->mtime_ns != 0)
        content->mtime_ns = event->mtime_ns;
    if (event->kind == TRACE_WRITE) {
        content_write(content, change, rng);
    } else if (event->kind == TRACE_TRUNCATE) {
        content_resize(content, event->offset);
    } else if (event->kind == TRACE_CHMOD) {
        content->mode = event->mode;
    } else if (event->kind == TRACE_CHOWN) {
        content->uid = event->uid;
        content->gid = event->gid;
    }
}

/* How it was made, whether or not that name is there. */
static void content_begin(const struct faultdisk *disk, uint64_t number,
                          struct content *content)
{
    for (size_t i = 0; i < disk->count; i++) {
        const struct trace_event *event = &disk->changes[i].item.event;

        if (event->object == number &&
            (event->kind == TRACE_CREATE || event->kind == TRACE_MKDIR)) {
            content->mode = event->mode;
            content->uid = event->uid;
            content->gid = event->gid;
            content->mtime_ns = event->mtime_ns;
            return;
        }
    }
}

static void content_make(const struct faultdisk *disk, uint64_t number,
                         struct content *content, struct rng *rng)
{
    const struct object *object = &disk->objects[number];

    content_begin(disk, number, content);
    for (size_t i = 0; i < object->count; i++) {
        const struct change *change = &disk->changes[object->changes[i]];

        if (change->is_there && !is_name(change))
            content_take(content, change, rng);
    }
}

static int content_save(const struct content *content, uint64_t number,
                        bool is_directory, const char *path)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {(time_t)(content->mtime_ns / 1000000000u),
                                 (long)(content->mtime_ns % 1000000000u)}};
    int fd = is_directory
                 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : 0;

    if (fd < 0)
        return rc;
    if ((content->size > 0 &&
         write(fd, content->bytes, content->size) != (ssize_t)content->size) ||
        fchmod(fd, content->mode & 07777) != 0 ||
        fchown(fd, content->uid, content->gid) != 0 ||
        fsetxattr(fd, FAULTDISK_XATTR, &number, sizeof number, 0) != 0 ||
        futimens(fd, times) != 0)
        rc = -errno;
    close(fd);
    return rc;
}

static int object_write(struct faultdisk *disk, uint64_t number,
                        const char *path, struct rng *rng);

static int children_write(struct faultdisk *disk, uint64_t number,
                          const char *path, struct rng *rng)
{
    char child[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < disk->entry_count; i++) {
        const struct entry *entry = &disk->entries[i];

        if (entry->parent != number)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, entry->name);
        rc = object_write(disk, entry->object, child, rng);
    }
    return rc;
}

static int object_write(struct faultdisk *disk, uint64_t number,
                        const char *path, struct rng *rng)
{
    struct object *object = &disk->objects[number];
    struct content content = {0};
    int rc = 0;

    if (object->first_path != NULL && !object->is_directory)
        return link(object->first_path, path) == 0 ? 0 : -errno;
    if (object->first_path != NULL)
        return 0; /* a directory whose old name did not go */
    object->first_path = strdup(path);
    if (object->is_directory && number != TRACE_ROOT && mkdir(path, 0700) != 0)
        return -errno;
    if (object->is_directory)
        rc = children_write(disk, number, path, rng);
    content_make(disk, number, &content, rng);
    if (rc == 0 && number != TRACE_ROOT)
        rc = content_save(&content, number, object->is_directory, path);
    free(content.bytes);
    return rc;
}

int faultdisk_write(struct faultdisk *disk, enum faultdisk_fate fate,
                    uint64_t seed, const char *path)
{
    struct rng rng = {seed};
    int rc;

    choose(disk, fate, &rng);
    entries_make(disk);
    rc = object_write(disk, TRACE_ROOT, path, &rng);
    for (size_t i = 0; i < disk->object_count; i++) {
        free((void *)(uintptr_t)disk->objects[i].first_path);
        disk->objects[i].first_path = NULL;
    }
    return rc;
}
