/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/config_yaml.h - from YAML to keys and values; the only file that knows
 * libyaml. Any thread.
 */
#ifndef TIDEMARK_NODE_CONFIG_YAML_H
#define TIDEMARK_NODE_CONFIG_YAML_H

#include "node/config_value.h"

/*
 * Sets every field that the document gives. One document, mappings of the
 * table's keys, each at most once; null is as if the key were not there.
 * -EINVAL, -ENOMEM; reader->error is written.
 */
int config_yaml_read(struct config_reader *reader, const char *bytes,
                     size_t size);

#endif
