/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/advertise.c - connects an unsent UDP socket to the primary and asks
 * which local address the kernel chose. On the primary itself that is the
 * primary's own address: the two are equal there and nowhere else.
 */
#include "node/advertise.h"

#include "base/os.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The numeric host of a socket address; IPv4 inside IPv6 is IPv4. */
static void host_text(const struct sockaddr_storage *from,
                      char host[ADDRESS_HOST_BYTES])
{
    char text[INET6_ADDRSTRLEN] = "";

    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)from;

        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    } else {
        const struct sockaddr_in6 *in6 = (const void *)from;

        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
    }
    snprintf(host, ADDRESS_HOST_BYTES, "%s", text);
}

/* The local host that routes to `to`, and `to` itself as a number. */
static int route_to(const struct addrinfo *to, char local[ADDRESS_HOST_BYTES],
                    char remote[ADDRESS_HOST_BYTES])
{
    struct sockaddr_storage mine = {0}, theirs = {0};
    socklen_t size = sizeof mine;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = 0;

    if (fd < 0)
        return site_fail(SITE_ADVERTISE_ROUTE, NULL, errno);
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0 ||
        getsockname(fd, (struct sockaddr *)&mine, &size) != 0)
        rc = site_fail(SITE_ADVERTISE_ROUTE, NULL, errno);
    close(fd);
    if (rc < 0)
        return rc;
    memcpy(&theirs, to->ai_addr, to->ai_addrlen);
    host_text(&mine, local);
    host_text(&theirs, remote);
    return 0;
}

static int resolve(const struct address *address, struct addrinfo **ret_list,
                   const char **ret_reason)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    char port[8];
    int rc;

    snprintf(port, sizeof port, "%u", (unsigned)address->port);
    rc = getaddrinfo(address->host, port, &hints, ret_list);
    if (rc == 0)
        return 0;
    *ret_reason = gai_strerror(rc);
    return -EHOSTUNREACH;
}

int advertise_from(const struct config *config, const struct addrinfo *list,
                   struct address *ret_found)
{
    const struct address *primary = &config->lease.primary;
    struct address found = {.port = config->listen.replication.port};
    char remote[ADDRESS_HOST_BYTES] = "";
    int rc = -EHOSTUNREACH;

    for (const struct addrinfo *to = list; to != NULL && rc < 0;
         to = to->ai_next)
        rc = route_to(to, found.host, remote);
    if (rc < 0)
        return rc;
    /* The primary keeps the name that the others know it by. */
    if (strcmp(found.host, remote) == 0)
        snprintf(found.host, sizeof found.host, "%s", primary->host);
    *ret_found = found;
    return 0;
}

int advertise_find(struct config *config, struct config_error *ret_error)
{
    const struct address *primary = &config->lease.primary;
    char text[ADDRESS_TEXT_BYTES];
    struct addrinfo *list = NULL;
    const char *reason = "no route";
    int rc;

    if (!config_needs_advertise(config))
        return 0;
    rc = resolve(primary, &list, &reason);
    if (rc == 0) {
        rc = advertise_from(config, list, &config->node.advertise);
        freeaddrinfo(list);
    }
    if (rc < 0) {
        address_format(primary, text);
        snprintf(ret_error->text, sizeof ret_error->text,
                 "node.advertise: cannot find the local address that routes to "
                 "lease.primary %s: %s; give node.advertise",
                 text, reason);
    }
    return rc;
}
