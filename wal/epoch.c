/* SPDX-License-Identifier: Apache-2.0 */
/* wal/epoch.c - see epoch.h. */
#include "wal/epoch.h"

#include "wal/notes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <xxhash.h>

#define EPOCH_FILE_BYTES 24u

epoch_t catalog_epoch(struct catalog *catalog)
{
    epoch_t epoch;

    pthread_mutex_lock(&catalog->lock);
    epoch = catalog->epoch;
    pthread_mutex_unlock(&catalog->lock);
    return epoch;
}

static int epoch_save(struct catalog *catalog, epoch_t epoch)
{
    uint8_t bytes[EPOCH_FILE_BYTES] = "TMKEPOC1";

    put_le64(bytes + 8, epoch);
    put_le64(bytes + 16, XXH3_64bits(bytes, 16));
    return os_replace(catalog->config.data_fd, "epoch", bytes, sizeof bytes,
                      SITE_CATALOG_STATE);
}

int epoch_load(struct catalog *catalog)
{
    uint8_t bytes[EPOCH_FILE_BYTES];
    struct os_file file = {0};
    int rc = os_open(&file, catalog->config.data_fd, "epoch", O_RDONLY, 0,
                     SITE_CATALOG_STATE);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        rc = os_pread_full(&file, bytes, sizeof bytes, 0, SITE_CATALOG_STATE);
    os_close(&file);
    if (rc == 0 && (memcmp(bytes, "TMKEPOC1", 8) != 0 ||
                    get_le64(bytes + 16) != XXH3_64bits(bytes, 16)))
        rc = site_fail(SITE_CATALOG_STATE, "epoch", EBADMSG);
    if (rc == 0)
        catalog->epoch = get_le64(bytes + 8);
    return rc;
}

int epoch_renew(struct catalog *catalog)
{
    uint32_t random;
    epoch_t epoch;
    int rc;

    if (catalog->config.role != DATABASE_PRIMARY)
        return 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return site_fail(SITE_CATALOG_STATE, "getrandom", EIO);
    epoch = epoch_raise(catalog_epoch(catalog), random);
    rc = epoch_save(catalog, epoch);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&catalog->lock);
    catalog->epoch = epoch;
    pthread_mutex_unlock(&catalog->lock);
    return 0;
}

void catalog_hear_epoch(struct catalog *catalog, epoch_t epoch)
{
    ASSERT(atomic_load(&catalog->asking));
    pthread_mutex_lock(&catalog->lock);
    if (epoch > catalog->epoch)
        catalog->epoch = epoch;
    pthread_mutex_unlock(&catalog->lock);
}

int epoch_take(struct database *database, const struct record_header *header)
{
    int rc;

    if (header->epoch <= history_last(&database->history))
        return 0;
    pthread_mutex_lock(&database->lock);
    rc = history_begin(&database->history, header->epoch, header->first_txid);
    pthread_mutex_unlock(&database->lock);
    return rc < 0 ? rc : notes_save_meta(database);
}
