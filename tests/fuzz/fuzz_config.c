/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_config.c - any bytes as tidemark.yml: a configuration that
 * keeps its promises, or an error that has a text.
 */
#include "base/assert.h"
#include "node/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config = {0};
    struct config_error error = {0};
    int rc = config_parse((const char *)data, size, "/etc/tidemark.yml",
                          &config, &error);

    if (rc < 0) {
        ASSERT(error.text[0] != '\0');
        ASSERT(config.mount == NULL);
        return 0;
    }
    ASSERT(config.mount[0] == '/' && config.data[0] == '/');
    ASSERT(config.node.id[0] != '\0' && config.cluster.secret != NULL);
    ASSERT(config.lease.primary.port != 0);
    ASSERT(config.insecure || address_is_loopback(&config.listen.replication));
    config_free(&config);
    return 0;
}
