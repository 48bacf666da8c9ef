/* SPDX-License-Identifier: Apache-2.0 */
/* base/address.c - takes "host:port" apart; numbers are checked, names only
 * by their characters. */
#include "base/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int port_parse(const char *text, uint16_t *ret_port)
{
    unsigned long port = 0;

    if (*text == '\0' || strlen(text) > 5)
        return -EINVAL;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        port = port * 10 + (unsigned long)(*text - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

/* In place to the shortest form; a scope ("%eth0") stays as it is. */
static int host_ipv6(char host[ADDRESS_HOST_BYTES])
{
    char *percent = strchr(host, '%');
    char scope[32] = "", text[INET6_ADDRSTRLEN];
    struct in6_addr number;

    if (percent != NULL) {
        if (strlen(percent) < 2 || strlen(percent) >= sizeof scope)
            return -EINVAL;
        memcpy(scope, percent, strlen(percent) + 1);
        *percent = '\0';
    }
    for (const char *c = scope; *c != '\0'; c++)
        if (*c <= ' ' || *c == '[' || *c == ']')
            return -EINVAL;
    if (inet_pton(AF_INET6, host, &number) != 1)
        return -EINVAL;
    inet_ntop(AF_INET6, &number, text, sizeof text);
    snprintf(host, ADDRESS_HOST_BYTES, "%s%s", text, scope);
    return 0;
}

/* IPv4 or a name. A last label of digits only is a mistyped number: resolvers
 * read "10.1" as 10.0.0.1, which nobody means. */
static int host_name(char host[ADDRESS_HOST_BYTES])
{
    const char *label = host;
    struct in_addr number;

    if (inet_pton(AF_INET, host, &number) == 1)
        return 0;
    for (char *c = host; *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
        if (!isalnum((unsigned char)*c) && strchr("-._", *c) == NULL)
            return -EINVAL;
        if (*c == '.' && (c == label || c[1] == '.'))
            return -EINVAL;
        if (*c == '.' && c[1] != '\0')
            label = c + 1;
    }
    if (label[strspn(label, "0123456789")] == '\0' || *label == '-')
        return -EINVAL;
    return 0;
}

static int host_check(char host[ADDRESS_HOST_BYTES], bool brackets)
{
    if (host[0] == '\0')
        return brackets ? -EINVAL : 0;
    if (brackets || strchr(host, ':') != NULL)
        return host_ipv6(host);
    return host_name(host);
}

/* Finds where the host lies and what follows it: "" or ":port". */
static const char *text_split(const char *text, const char **ret_host,
                              size_t *ret_length)
{
    const char *colon = strchr(text, ':');
    const char *end = text + strlen(text);

    *ret_host = text;
    if (*text == '[') {
        const char *close = strchr(text, ']');

        if (close == NULL)
            return NULL;
        *ret_host = text + 1;
        *ret_length = (size_t)(close - text) - 1;
        return close + 1;
    }
    if (colon != NULL && strchr(colon + 1, ':') == NULL)
        end = colon; /* one colon: before a port; more: a bare IPv6 */
    *ret_length = (size_t)(end - text);
    return end;
}

int address_parse(const char *text, uint16_t default_port,
                  struct address *ret_address)
{
    struct address address = {.port = default_port};
    const char *host, *rest;
    size_t length;

    if (*text == '\0')
        return -EINVAL;
    rest = text_split(text, &host, &length);
    if (rest == NULL || length >= sizeof address.host)
        return -EINVAL;
    memcpy(address.host, host, length);
    if (host_check(address.host, *text == '[') < 0)
        return -EINVAL;
    if (*rest == ':') {
        if (port_parse(rest + 1, &address.port) < 0)
            return -EINVAL;
    } else if (*rest != '\0') {
        return -EINVAL;
    }
    if (address.port == 0)
        return -EINVAL;
    *ret_address = address;
    return 0;
}

void address_format(const struct address *address,
                    char text[ADDRESS_TEXT_BYTES])
{
    bool brackets = strchr(address->host, ':') != NULL;

    snprintf(text, ADDRESS_TEXT_BYTES, "%s%s%s:%u", brackets ? "[" : "",
             address->host, brackets ? "]" : "", (unsigned)address->port);
}

bool address_is_equal(const struct address *a, const struct address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static bool host_is_localhost(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 ||
           strcmp(host, "::1") == 0;
}

bool address_is_same(const struct address *a, const struct address *b)
{
    if (address_is_equal(a, b))
        return true;
    return a->port == b->port && host_is_localhost(a->host) &&
           host_is_localhost(b->host);
}

bool address_is_any(const struct address *address)
{
    return address->host[0] == '\0' || strcmp(address->host, "0.0.0.0") == 0 ||
           strcmp(address->host, "::") == 0;
}

bool address_is_loopback(const struct address *address)
{
    struct in_addr number;

    if (host_is_localhost(address->host))
        return true;
    return inet_pton(AF_INET, address->host, &number) == 1 &&
           (ntohl(number.s_addr) >> 24) == 127;
}
