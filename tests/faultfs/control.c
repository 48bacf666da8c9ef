/* SPDX-License-Identifier: Apache-2.0 */
/* tests/faultfs/control.c - see control.h. One thread per connection. */
#include "tests/faultfs/control.h"

#include "tests/faultfs/recorder.h"
#include "tests/faultfs/mishap.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void answer(FILE *stream, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "mark ", 5) == 0)
        fprintf(stream, "ok %ju\n", (uintmax_t)recorder_mark(line + 5));
    else if (mishap_command(line) == 0)
        fprintf(stream, "ok\n");
    else
        fprintf(stream, "error\n");
    fflush(stream);
}

static void *converse(void *context)
{
    int fd = (int)(intptr_t)context;
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    char line[4096];

    while (in != NULL && out != NULL && fgets(line, sizeof line, in) != NULL)
        answer(out, line);
    if (in != NULL)
        fclose(in);
    if (out != NULL)
        fclose(out);
    return NULL;
}

static void *listen_for(void *context)
{
    int fd = (int)(intptr_t)context, peer;
    pthread_t thread;

    while ((peer = accept(fd, NULL, NULL)) >= 0)
        if (pthread_create(&thread, NULL, converse, (void *)(intptr_t)peer) ==
            0)
            pthread_detach(thread);
        else
            close(peer);
    return NULL;
}

int control_start(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;

    if (fd < 0)
        return -errno;
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 64) != 0)
        return -errno;
    return -pthread_create(&thread, NULL, listen_for, (void *)(intptr_t)fd);
}
