/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/address.h - "host:port" as people write it, and what it means.
 *
 *   text            host        port
 *   db1:20202       db1         20202   a name, resolved at each connect
 *   10.0.0.1:20202  10.0.0.1    20202
 *   [::1]:20202     ::1         20202   IPv6 needs brackets beside a port
 *   :20202          (empty)     20202   every address of this machine
 *   db1, ::1        db1, ::1    the default port
 *
 * Names are kept in lower case and IPv6 in its shortest form, so that equal
 * addresses are equal bytes. Nothing is resolved here. Pure. Any thread.
 */
#ifndef TIDEMARK_BASE_ADDRESS_H
#define TIDEMARK_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_HOST_BYTES 254 /* longest DNS name and the final 0 */
#define ADDRESS_TEXT_BYTES (ADDRESS_HOST_BYTES + 8)

struct address {
    char host[ADDRESS_HOST_BYTES]; /* "": every address of this machine */
    uint16_t port;                 /* > 0; 0: this struct holds no address */
};

/* 0, or -EINVAL: no host or port can be made of text. default_port 0: text
 * must name one. */
int address_parse(const char *text, uint16_t default_port,
                  struct address *ret_address);

/* What address_parse() reads back as the same address; text is complete. */
void address_format(const struct address *address,
                    char text[ADDRESS_TEXT_BYTES]);

bool address_is_equal(const struct address *a, const struct address *b);

/*
 * True when both surely lead to the same socket: equal, or the same port of
 * localhost, 127.0.0.1 and ::1. Not for 127.0.0.2: several nodes on one
 * machine may share a port there.
 */
bool address_is_same(const struct address *a, const struct address *b);

/* True for "", 0.0.0.0 and ::, which only a listener may have. */
bool address_is_any(const struct address *address);

/*
 * True when no other machine can be behind it: 127.0.0.0/8, ::1, localhost.
 * Any other name may resolve to anything tomorrow, so it is not.
 */
bool address_is_loopback(const struct address *address);

#endif
