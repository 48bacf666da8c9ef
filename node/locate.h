/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/locate.h - which node a command talks about, and which configuration
 * `mount` reads: --config F or --data DIR, else TIDEMARK_CONFIG, else
 * ./tidemark.yml, else /etc/tidemark.yml. Any thread.
 */
#ifndef TIDEMARK_NODE_LOCATE_H
#define TIDEMARK_NODE_LOCATE_H

#include "node/config.h"

#include <limits.h>

/*
 * Path of the configuration. given is --config, or NULL. -ENOENT: there is
 * none, and ret_error says where one was looked for. A file that somebody
 * named is not looked at: reading it will say what is wrong.
 */
int locate_config(const char *given, char ret_path[PATH_MAX],
                  struct config_error *ret_error);

/*
 * The data directory of the node: --data as it is, or what the configuration
 * says. Both may be NULL. -ENOENT or what config_load() said.
 */
int locate_data(const char *config, const char *data, char ret_path[PATH_MAX],
                struct config_error *ret_error);

#endif
