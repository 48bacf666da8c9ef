/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/core/body.c - each body twice, writer and reader side by side,
 * so that one can be read off against the other and against the byte map in
 * body.h.
 */
#include "replication/core/body.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "replication/core/pack.h"

#include <errno.h>
#include <stdio.h>

#define HELLO_MAGIC "TIDEMARK"
#define HELLO_MAGIC_BYTES 8u
#define HELLO_CANDIDATE 1u
#define HELLO_PRIMARY 2u
#define OPEN_DIVERGED 1u

#define HELLO_MAX_BYTES                                                        \
    (21u + 3u * (1u + BODY_ID_MAX) + 2u + BODY_ADVERTISE_MAX)
#define WELCOME_MAX_BYTES                                                      \
    (10u + 2u * (1u + BODY_ID_MAX) + 2u + BODY_ADVERTISE_MAX)
#define DATABASE_FIXED_BYTES (88u + 2u + BODY_NAME_MAX)
#define OPEN_FIXED_BYTES (68u + 2u + BODY_NAME_MAX)

static const char *const reason_names[] = {
    [BODY_NONE] = "none",
    [BODY_VERSION] = "version",
    [BODY_CLUSTER] = "cluster",
    [BODY_NOT_PRIMARY] = "not-primary",
    [BODY_SAME_NODE] = "same-node",
    [BODY_FENCED] = "fenced",
    [BODY_LIMIT] = "limit",
    [BODY_PROTOCOL] = "protocol",
    [BODY_STOPPING] = "stopping",
    [BODY_NOT_LOCAL] = "not-local",
    [BODY_AGAIN] = "again",
    [BODY_NEW] = "new",
    [BODY_TRIMMED] = "trimmed",
    [BODY_DIVERGED] = "diverged",
    [BODY_AHEAD] = "ahead",
    [BODY_LINEAGE] = "lineage",
    [BODY_GAP] = "gap",
    [BODY_SUM] = "sum",
    [BODY_DAMAGED] = "damaged",
    [BODY_STOPPED] = "stopped",
    [BODY_BUSY] = "busy",
    [BODY_UNWANTED] = "unwanted",
};

const char *body_reason_name(unsigned reason)
{
    if (reason >= ARRAY_LENGTH(reason_names) || reason_names[reason] == NULL)
        return "?";
    return reason_names[reason];
}

const char *body_mode_name(unsigned mode)
{
    static const char *const names[] = {
        [BODY_RESUME] = "resume",
        [BODY_SNAPSHOT] = "snapshot",
        [BODY_NOTHING] = "nothing",
        [BODY_DELTA] = "delta",
    };

    return mode < ARRAY_LENGTH(names) && names[mode] != NULL ? names[mode]
                                                             : "?";
}

static bool component_is_valid(const char *component, size_t length)
{
    if (length == 0 || (length == 1 && component[0] == '.'))
        return false;
    if (length == 2 && component[0] == '.' && component[1] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)component[i] < ' ' || component[i] == 0x7f)
            return false;
    return true;
}

bool body_name_is_valid(const char *name, size_t length)
{
    if (length > BODY_NAME_MAX)
        return false;
    for (;;) {
        const char *slash = memchr(name, '/', length);
        size_t part = slash == NULL ? length : (size_t)(slash - name);

        if (!component_is_valid(name, part))
            return false;
        if (slash == NULL)
            return true;
        name += part + 1;
        length -= part + 1;
    }
}

static void take_name(struct pack_reader *reader, char *ret_name)
{
    pack_take_text16(reader, ret_name, BODY_NAME_MAX);
    pack_require(reader, body_name_is_valid(ret_name, strlen(ret_name)));
}

/* A number from a newer peer that we have no name for is kept as it is: it
 * is only ever printed or compared. */
static enum body_reason take_reason(struct pack_reader *reader)
{
    return (enum body_reason)pack_take_u16(reader);
}

/* ---- greeting and parting ------------------------------------------------ */

int body_hello_encode(const struct body_hello *hello, struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_HELLO, 0, 0, HELLO_MAX_BYTES);
    for (size_t i = 0; i < HELLO_MAGIC_BYTES; i++)
        pack_u8(&writer, (uint8_t)HELLO_MAGIC[i]);
    pack_u16(&writer, hello->version_min);
    pack_u16(&writer, hello->version_max);
    pack_u64(&writer, hello->epoch);
    pack_u8(&writer, (uint8_t)((hello->candidate ? HELLO_CANDIDATE : 0) |
                               (hello->primary ? HELLO_PRIMARY : 0)));
    pack_text8(&writer, hello->cluster);
    pack_text8(&writer, hello->node);
    pack_text8(&writer, hello->region);
    pack_text16(&writer, hello->advertise);
    return pack_finish(&writer, ret_blob);
}

int body_hello_decode(const struct blob *body, struct body_hello *ret_hello)
{
    struct pack_reader reader = pack_open(body);
    struct body_hello hello;
    unsigned flags;

    for (size_t i = 0; i < HELLO_MAGIC_BYTES; i++)
        pack_require(&reader, pack_take_u8(&reader) == (uint8_t)HELLO_MAGIC[i]);
    hello.version_min = pack_take_u16(&reader);
    hello.version_max = pack_take_u16(&reader);
    hello.epoch = pack_take_u64(&reader);
    flags = pack_take_u8(&reader);
    hello.candidate = (flags & HELLO_CANDIDATE) != 0;
    hello.primary = (flags & HELLO_PRIMARY) != 0;
    pack_take_text8(&reader, hello.cluster, BODY_ID_MAX);
    pack_take_text8(&reader, hello.node, BODY_ID_MAX);
    pack_take_text8(&reader, hello.region, BODY_ID_MAX);
    pack_take_text16(&reader, hello.advertise, BODY_ADVERTISE_MAX);
    pack_require(&reader, hello.version_min <= hello.version_max);
    pack_require(&reader, hello.node[0] != '\0');
    /* Not pack_end(): a newer peer may say more than we know of. */
    if (reader.failed == 0)
        *ret_hello = hello;
    return reader.failed;
}

int body_welcome_encode(const struct body_welcome *welcome,
                        struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_WELCOME, 0, 0, WELCOME_MAX_BYTES);
    pack_u16(&writer, welcome->version);
    pack_u64(&writer, welcome->epoch);
    pack_text8(&writer, welcome->node);
    pack_text8(&writer, welcome->region);
    pack_text16(&writer, welcome->advertise);
    return pack_finish(&writer, ret_blob);
}

int body_welcome_decode(const struct blob *body,
                        struct body_welcome *ret_welcome)
{
    struct pack_reader reader = pack_open(body);
    struct body_welcome welcome;
    int rc;

    welcome.version = pack_take_u16(&reader);
    welcome.epoch = pack_take_u64(&reader);
    pack_take_text8(&reader, welcome.node, BODY_ID_MAX);
    pack_take_text8(&reader, welcome.region, BODY_ID_MAX);
    pack_take_text16(&reader, welcome.advertise, BODY_ADVERTISE_MAX);
    pack_require(&reader, welcome.node[0] != '\0');
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_welcome = welcome;
    return rc;
}

int body_refuse_encode(enum message_type type, enum body_reason reason,
                       const char *text, struct blob **ret_blob)
{
    char cut[BODY_TEXT_MAX + 1];
    struct pack_writer writer;

    ASSERT(type == MESSAGE_REFUSE || type == MESSAGE_BYE);
    snprintf(cut, sizeof cut, "%s", text);
    pack_begin(&writer, type, 0, 0, 4 + BODY_TEXT_MAX);
    pack_u16(&writer, (uint16_t)reason);
    pack_text16(&writer, cut);
    return pack_finish(&writer, ret_blob);
}

int body_refuse_decode(const struct blob *body, struct body_refuse *ret_refuse)
{
    struct pack_reader reader = pack_open(body);
    struct body_refuse refuse;
    int rc;

    refuse.reason = take_reason(&reader);
    pack_take_text16(&reader, refuse.text, BODY_TEXT_MAX);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_refuse = refuse;
    return rc;
}

/* ---- one database -------------------------------------------------------- */

static void put_database(struct pack_writer *writer,
                         const struct body_database *database)
{
    pack_lineage(writer, &database->lineage);
    pack_position(writer, &database->position);
    pack_u64(writer, database->received_txid);
    pack_u64(writer, database->durable_txid);
    pack_position(writer, &database->prepared);
    pack_u32(writer, database->base_page_bytes);
    pack_u32(writer, database->base_pages);
    pack_text16(writer, database->name);
    pack_history(writer, &database->history);
}

/* Names a commit that may follow all that was received, or nothing. */
static bool prepared_is_valid(const struct body_database *database)
{
    const struct position *prepared = &database->prepared;

    if (prepared->txid == 0)
        return prepared->epoch == 0 && prepared->sum == 0;
    return prepared->txid > database->received_txid && prepared->epoch > 0 &&
           prepared->epoch >= database->position.epoch;
}

static bool base_is_valid(const struct body_database *database)
{
    if (database->base_page_bytes == 0)
        return database->base_pages == 0;
    return page_size_is_valid(database->base_page_bytes);
}

static void take_database(struct pack_reader *reader,
                          struct body_database *database)
{
    database->lineage = pack_take_lineage(reader);
    database->position = pack_take_position(reader);
    database->received_txid = pack_take_u64(reader);
    database->durable_txid = pack_take_u64(reader);
    database->prepared = pack_take_position(reader);
    database->base_page_bytes = pack_take_u32(reader);
    database->base_pages = pack_take_u32(reader);
    pack_require(reader, database->received_txid >= database->position.txid);
    pack_require(reader, database->durable_txid <= database->received_txid);
    pack_require(reader, prepared_is_valid(database));
    pack_require(reader, base_is_valid(database));
    take_name(reader, database->name);
    pack_take_history(reader, &database->history);
}

int body_database_encode(const struct body_database *database,
                         struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_DATABASE, 0, 0,
               DATABASE_FIXED_BYTES +
                   history_encoded_bytes(&database->history));
    put_database(&writer, database);
    return pack_finish(&writer, ret_blob);
}

int body_database_decode(const struct blob *body,
                         struct body_database *ret_database)
{
    struct pack_reader reader = pack_open(body);
    struct body_database database;
    int rc;

    take_database(&reader, &database);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_database = database;
    else
        history_free(&database.history);
    return rc;
}

int body_resync_encode(uint32_t stream, const struct body_resync *resync,
                       struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_RESYNC, 0, stream,
               6 + DATABASE_FIXED_BYTES +
                   history_encoded_bytes(&resync->database.history));
    pack_u16(&writer, (uint16_t)resync->reason);
    pack_u32(&writer, resync->serial);
    put_database(&writer, &resync->database);
    return pack_finish(&writer, ret_blob);
}

int body_resync_decode(const struct blob *body, struct body_resync *ret_resync)
{
    struct pack_reader reader = pack_open(body);
    struct body_resync resync;
    int rc;

    resync.reason = take_reason(&reader);
    resync.serial = pack_take_u32(&reader);
    take_database(&reader, &resync.database);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_resync = resync;
    else
        history_free(&resync.database.history);
    return rc;
}

int body_open_encode(uint32_t stream, const struct body_open *open,
                     struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_OPEN, 0, stream,
               OPEN_FIXED_BYTES + history_encoded_bytes(&open->history));
    pack_u8(&writer, (uint8_t)open->mode);
    pack_u8(&writer, open->diverged ? OPEN_DIVERGED : 0);
    pack_u16(&writer, (uint16_t)open->reason);
    pack_u32(&writer, open->serial);
    pack_lineage(&writer, &open->lineage);
    pack_position(&writer, &open->position);
    pack_u32(&writer, open->page_bytes);
    pack_u32(&writer, open->size_pages);
    pack_u32(&writer, open->uid);
    pack_u32(&writer, open->gid);
    pack_u32(&writer, open->mode_bits);
    pack_text16(&writer, open->name);
    pack_history(&writer, &open->history);
    return pack_finish(&writer, ret_blob);
}

static void take_open(struct pack_reader *reader, struct body_open *open)
{
    unsigned mode = pack_take_u8(reader);
    unsigned flags = pack_take_u8(reader);

    pack_require(reader, mode >= BODY_RESUME && mode <= BODY_DELTA);
    pack_require(reader, flags <= OPEN_DIVERGED);
    open->mode = (enum body_mode)mode;
    open->diverged = (flags & OPEN_DIVERGED) != 0;
    open->reason = take_reason(reader);
    open->serial = pack_take_u32(reader);
    open->lineage = pack_take_lineage(reader);
    open->position = pack_take_position(reader);
    open->page_bytes = pack_take_u32(reader);
    open->size_pages = pack_take_u32(reader);
    open->uid = pack_take_u32(reader);
    open->gid = pack_take_u32(reader);
    open->mode_bits = pack_take_u32(reader);
    take_name(reader, open->name);
    pack_take_history(reader, &open->history);
}

int body_open_decode(const struct blob *body, struct body_open *ret_open)
{
    struct pack_reader reader = pack_open(body);
    struct body_open open;
    int rc;

    take_open(&reader, &open);
    pack_require(&reader, open.serial > 0);
    pack_require(&reader, !body_mode_copies(open.mode) ||
                              page_size_is_valid(open.page_bytes));
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_open = open;
    else
        history_free(&open.history);
    return rc;
}

int body_copied_encode(uint32_t stream, const struct position *position,
                       struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_COPIED, 0, stream, PACK_POSITION_BYTES);
    pack_position(&writer, position);
    return pack_finish(&writer, ret_blob);
}

int body_copied_decode(const struct blob *body, struct position *ret_position)
{
    struct pack_reader reader = pack_open(body);
    struct position position = pack_take_position(&reader);
    int rc = pack_end(&reader);

    if (rc == 0)
        *ret_position = position;
    return rc;
}

int body_hashes_encode(uint32_t stream, const struct body_hashes *hashes,
                       const uint8_t *bytes, bool last, struct blob **ret_blob)
{
    struct pack_writer writer;

    ASSERT(hashes->count <= BODY_RANGE_PAGES && hashes->first > 0);
    ASSERT(hashes->count > 0 || last);
    pack_begin(&writer, MESSAGE_HASHES, last ? MESSAGE_LAST : 0, stream,
               8 + (size_t)hashes->count * 8);
    pack_u32(&writer, hashes->serial);
    pack_u32(&writer, hashes->first);
    pack_bytes(&writer, bytes, (size_t)hashes->count * 8);
    return pack_finish(&writer, ret_blob);
}

/* Pages first .. first + count - 1, all of them numbers that SQLite has. */
static void take_range(struct pack_reader *reader, pgno_t first, uint32_t count)
{
    pack_require(reader, first > 0 && count <= BODY_RANGE_PAGES &&
                             count <= UINT32_MAX - first);
}

int body_hashes_decode(const struct blob *body, struct body_hashes *ret_hashes)
{
    struct pack_reader reader = pack_open(body);
    struct body_hashes hashes = {.serial = pack_take_u32(&reader),
                                 .first = pack_take_u32(&reader)};
    size_t bytes = reader.size - reader.used;

    pack_require(&reader, bytes % 8 == 0 && bytes / 8 <= BODY_RANGE_PAGES);
    hashes.count = (uint32_t)(bytes / 8);
    take_range(&reader, hashes.first, hashes.count);
    if (reader.failed < 0)
        return reader.failed;
    *ret_hashes = hashes;
    return 0;
}

int body_same_encode(const struct body_same *same, struct blob **ret_body)
{
    size_t bytes = (same->count + 7) / 8;
    struct blob *body = blob_new(8 + bytes);

    if (body == NULL)
        return -ENOMEM;
    body->size = 8 + bytes;
    put_le32(body->data, same->first);
    put_le32(body->data + 4, same->count);
    if (bytes > 0)
        memcpy(body->data + 8, same->bits, bytes);
    *ret_body = body;
    return 0;
}

int body_same_decode(const struct blob *body, struct body_same *ret_same)
{
    struct pack_reader reader = pack_open(body);
    struct body_same same = {.first = pack_take_u32(&reader),
                             .count = pack_take_u32(&reader)};

    take_range(&reader, same.first, same.count);
    pack_require(&reader, reader.size - reader.used == (same.count + 7) / 8);
    if (reader.failed < 0)
        return reader.failed;
    same.bits = reader.bytes + reader.used;
    *ret_same = same;
    return 0;
}

int body_ack_encode(uint32_t stream, const struct body_ack *ack,
                    struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_ACK, 0, stream, 20 + PACK_POSITION_BYTES);
    pack_u32(&writer, ack->serial);
    pack_u64(&writer, ack->received_txid);
    pack_u64(&writer, ack->durable_txid);
    pack_position(&writer, &ack->position);
    return pack_finish(&writer, ret_blob);
}

int body_ack_decode(const struct blob *body, struct body_ack *ret_ack)
{
    struct pack_reader reader = pack_open(body);
    struct body_ack ack;
    int rc;

    ack.serial = pack_take_u32(&reader);
    ack.received_txid = pack_take_u64(&reader);
    ack.durable_txid = pack_take_u64(&reader);
    ack.position = pack_take_position(&reader);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_ack = ack;
    return rc;
}

int body_credit_encode(uint32_t stream, uint32_t bytes, struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_CREDIT, 0, stream, 4);
    pack_u32(&writer, bytes);
    return pack_finish(&writer, ret_blob);
}

int body_credit_decode(const struct blob *body, uint32_t *ret_bytes)
{
    struct pack_reader reader = pack_open(body);
    uint32_t bytes = pack_take_u32(&reader);
    int rc = pack_end(&reader);

    if (rc == 0)
        *ret_bytes = bytes;
    return rc;
}

int body_attr_encode(uint32_t stream, const struct body_attr *attr,
                     struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_ATTR, 0, stream, 12);
    pack_u32(&writer, attr->uid);
    pack_u32(&writer, attr->gid);
    pack_u32(&writer, attr->mode_bits);
    return pack_finish(&writer, ret_blob);
}

int body_attr_decode(const struct blob *body, struct body_attr *ret_attr)
{
    struct pack_reader reader = pack_open(body);
    struct body_attr attr;
    int rc;

    attr.uid = pack_take_u32(&reader);
    attr.gid = pack_take_u32(&reader);
    attr.mode_bits = pack_take_u32(&reader);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_attr = attr;
    return rc;
}

int body_drop_encode(uint32_t stream, const struct body_drop *drop,
                     struct blob **ret_blob)
{
    struct pack_writer writer;

    pack_begin(&writer, MESSAGE_DROP, 0, stream,
               LINEAGE_BYTES + 2 + BODY_NAME_MAX);
    pack_lineage(&writer, &drop->lineage);
    pack_text16(&writer, drop->name);
    return pack_finish(&writer, ret_blob);
}

int body_drop_decode(const struct blob *body, struct body_drop *ret_drop)
{
    struct pack_reader reader = pack_open(body);
    struct body_drop drop;
    int rc;

    drop.lineage = pack_take_lineage(&reader);
    take_name(&reader, drop.name);
    rc = pack_end(&reader);
    if (rc == 0)
        *ret_drop = drop;
    return rc;
}
