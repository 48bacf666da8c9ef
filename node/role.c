/* SPDX-License-Identifier: Apache-2.0 */
/* node/role.c - see role.h. The file data/role holds one word; data/running is
 * empty, and there while a node runs. */
#include "node/role.h"

#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define ROLE_FILE "role"
#define RUNNING_FILE "running"

static const char *const role_texts[] = {"replica\n", "primary\n"};

/* Is this what data/role says? No, when it cannot be read. */
static bool role_is(int data_fd, const char *wanted)
{
    struct os_file file = {0};
    char text[16] = "";
    ssize_t got;

    if (os_open(&file, data_fd, ROLE_FILE, O_RDONLY, 0, SITE_NODE_DATA) < 0)
        return false;
    got = os_pread(&file, text, sizeof text - 1, 0, SITE_NODE_DATA);
    os_close(&file);
    return got >= 0 && strcmp(text, wanted) == 0;
}

bool role_was_replica(const char *data)
{
    struct os_file dir = {0};
    bool was;

    if (os_open(&dir, AT_FDCWD, data, O_RDONLY | O_DIRECTORY, 0,
                SITE_NODE_DATA) < 0)
        return false;
    was = role_is(dir.fd, role_texts[false]);
    os_close(&dir);
    return was;
}

int role_keep(int data_fd, bool is_primary)
{
    const char *text = role_texts[is_primary];

    if (role_is(data_fd, text))
        return 0;
    return os_replace(data_fd, ROLE_FILE, text, strlen(text), SITE_NODE_DATA);
}

int role_run_begin(int data_fd, bool *ret_unclean)
{
    struct os_file file = {0};
    int rc = os_open(&file, data_fd, RUNNING_FILE, O_WRONLY | O_CREAT | O_EXCL,
                     0600, SITE_NODE_DATA);

    os_close(&file);
    *ret_unclean = rc == -EEXIST;
    if (rc == -EEXIST)
        return 0;
    return rc < 0 ? rc : os_sync_dir(data_fd, ".", SITE_NODE_DATA);
}

void role_run_end(int data_fd)
{
    /* Should it stay, or come back with a power cut, the next start asks for
     * nothing. */
    (void)os_unlink(data_fd, RUNNING_FILE, SITE_NODE_DATA);
}
