/* SPDX-License-Identifier: Apache-2.0 */
/* node/locate.c - the first place that has a configuration wins. */
#include "node/locate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int name_it(const char *path, char ret_path[PATH_MAX],
                   struct config_error *ret_error)
{
    if (snprintf(ret_path, PATH_MAX, "%s", path) < PATH_MAX)
        return 0;
    snprintf(ret_error->text, sizeof ret_error->text, "%.80s...: path too long",
             path);
    return -ENAMETOOLONG;
}

int locate_config(const char *given, char ret_path[PATH_MAX],
                  struct config_error *ret_error)
{
    static const char *const places[] = {"tidemark.yml", "/etc/tidemark.yml"};
    const char *variable = getenv("TIDEMARK_CONFIG");

    if (given == NULL && variable != NULL && *variable != '\0')
        given = variable;
    for (size_t i = 0; given == NULL && i < sizeof places / sizeof places[0];
         i++)
        if (access(places[i], F_OK) == 0)
            given = places[i];
    if (given != NULL)
        return name_it(given, ret_path, ret_error);
    snprintf(ret_error->text, sizeof ret_error->text,
             "no configuration: there is no ./tidemark.yml, no "
             "/etc/tidemark.yml and no TIDEMARK_CONFIG; name one with "
             "--config FILE");
    return -ENOENT;
}

int locate_data(const char *config, const char *data, char ret_path[PATH_MAX],
                struct config_error *ret_error)
{
    struct config loaded = {0};
    char path[PATH_MAX];
    int rc;

    if (data != NULL)
        return name_it(data, ret_path, ret_error);
    rc = locate_config(config, path, ret_error);
    if (rc == 0)
        rc = config_load(path, &loaded, ret_error);
    if (rc == 0)
        rc = name_it(loaded.data, ret_path, ret_error);
    config_free(&loaded);
    return rc;
}
