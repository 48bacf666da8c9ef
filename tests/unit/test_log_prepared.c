/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_log_prepared.c - a PREPARED at the end of a log: what it is,
 * and whether it is durable. */
#include "wal/log.h"

#include "tests/harness.h"
#include "tests/support/logs.h"

static struct logs a_log_of(txid_t count)
{
    struct logs logs;

    logs_make(&logs);
    EXPECT_OK(logs_open(&logs));
    for (txid_t txid = 1; txid <= count; txid++)
        EXPECT_OK(logs_append(&logs, txid, 0, 1));
    return logs;
}

/* What waits at the log's end: its TXID, and whether it is known durable. */
static void waits(struct logs *logs, txid_t txid, bool durable)
{
    struct position prepared;

    EXPECT_EQ(log_prepared(logs->log, &prepared), durable);
    EXPECT_EQ(prepared.txid, txid);
}

TEST(a_prepared_record_waits_durable_after_a_sync_until_it_is_decided)
{
    struct logs logs = a_log_of(3);

    waits(&logs, 0, false);
    EXPECT_OK(logs_append(&logs, 4, RECORD_PREPARED, 1));
    waits(&logs, 4, false);
    EXPECT_OK(log_sync(logs.log));
    EXPECT_EQ(log_durable_txid(logs.log), 3); /* of positions */
    waits(&logs, 4, true);
    EXPECT_OK(logs_open(&logs)); /* who knows who ran before us */
    waits(&logs, 4, false);
    EXPECT_OK(log_sync(logs.log));
    waits(&logs, 4, true);
    EXPECT_OK(logs_append(&logs, 4, RECORD_RESOLVE, 0));
    waits(&logs, 0, false);
    EXPECT_OK(logs_append(&logs, 5, RECORD_PREPARED, 1));
    EXPECT_OK(logs_append(&logs, 5, 0, 1)); /* of somebody who never had it */
    waits(&logs, 0, false);
    logs_remove(&logs);
}

TEST(a_prepared_record_of_parts_waits_when_the_last_one_is_there)
{
    struct logs logs = a_log_of(3);
    struct record_header header = logs_header(&logs, 4, 4, RECORD_PREPARED);

    header.parts = 3;
    for (header.part = 1; header.part <= 3; header.part++) {
        struct blob *blob = logs_blob(&header, 4);

        waits(&logs, 0, false);
        EXPECT_OK(log_append(logs.log, &header, blob));
        EXPECT_OK(log_sync(logs.log));
        blob_unref(blob);
    }
    waits(&logs, 4, true);
    logs_remove(&logs);
}

/* The same again, or another one of that TXID. */
static void prepares_again(struct logs *logs, uint64_t sum)
{
    struct record_header header = logs_header(logs, 4, 4, RECORD_PREPARED);
    struct blob *blob;

    header.sum_after = sum;
    blob = logs_blob(&header, 1);
    EXPECT_OK(log_append(logs->log, &header, blob));
    blob_unref(blob);
}

TEST(a_prepared_record_sent_again_is_as_durable_as_the_void_one_before_it)
{
    struct logs logs = a_log_of(3);

    prepares_again(&logs, 77);
    EXPECT_OK(log_sync(logs.log));
    prepares_again(&logs, 77);
    waits(&logs, 4, true); /* whatever happens, one of them is found */
    logs_truncate(&logs, logs_file(&logs, ".seg", 0),
                  logs_size(&logs, logs_file(&logs, ".seg", 0)) - 1);
    EXPECT_OK(logs_open(&logs));
    EXPECT_EQ(logs.found.prepared.sum_after, 77);
    EXPECT_OK(log_sync(logs.log));
    prepares_again(&logs, 78); /* another one is not */
    waits(&logs, 4, false);
    EXPECT_OK(log_sync(logs.log));
    waits(&logs, 4, true);
    logs_remove(&logs);
}
