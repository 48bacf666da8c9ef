/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replication/net/link.c - see link.h.
 *
 * Happy path out: nothing queued -> uv_try_write takes it all -> done. What
 * it did not take goes into the ring; one uv_write at a time carries as many
 * items as LINK_WRITE_ITEMS allows, and its end starts the next.
 * Happy path in: one large read -> decoder -> on_message for each.
 *
 * Failures: whatever the socket or the decoder says ends the link; a peer
 * that reads too slowly is given up at LINK_QUEUE_MAX_BYTES, one that says
 * nothing after LINK_DEAD_MS. Nothing is retried here: who owns the link
 * connects again, or waits to be connected to. Loop thread.
 */
#include "replication/net/link.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/os.h"
#include "base/thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#define RING_FIRST 64u
#define KEEPALIVE_S 30u

static void link_work(struct link *link);

/* ---- life -----------------------------------------------------------------*/

int link_init(struct link *link, uv_loop_t *loop,
              const struct link_hooks *hooks)
{
    int rc;

    ASSERT_ON_LOOP();
    *link = (struct link){.hooks = hooks};
    rc = os_alloc(&link->read_buffer, LINK_READ_BYTES, SITE_LINK_ALLOC);
    if (rc == 0)
        rc = os_alloc(&link->items, RING_FIRST * sizeof *link->items,
                      SITE_LINK_ALLOC);
    if (rc < 0) {
        os_free(&link->read_buffer);
        return rc;
    }
    link->items_capacity = RING_FIRST;
    message_decoder_init(&link->decoder);
    /* Without a socket made yet these two only fill in their structs. */
    rc = uv_tcp_init(loop, &link->tcp);
    ASSERT(rc == 0);
    rc = uv_timer_init(loop, &link->timer);
    ASSERT(rc == 0);
    link->handles_open = 2;
    return 0;
}

static struct link_item *item_at(struct link *link, size_t index)
{
    ASSERT(link->items_capacity > 0);
    return &link->items[(link->items_first + index) % link->items_capacity];
}

static size_t item_bytes(const struct link_item *item)
{
    return item->header_bytes + (item->blob == NULL ? 0 : item->blob->size);
}

static void items_drop(struct link *link, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct link_item *item = item_at(link, i);

        link->queued_bytes -= item_bytes(item);
        blob_unref(item->blob);
    }
    link->items_first = (link->items_first + count) % link->items_capacity;
    link->items_count -= count;
}

static void link_on_handle_closed(struct link *link)
{
    if (--link->handles_open > 0)
        return;
    items_drop(link, link->items_count);
    os_free(&link->items);
    os_free(&link->read_buffer);
    message_decoder_close(&link->decoder);
    link->hooks->on_closed(link, link->error);
}

static void link_on_tcp_closed(uv_handle_t *handle)
{
    link_on_handle_closed(
        CONTAINER_OF((uv_tcp_t *)(void *)handle, struct link, tcp));
}

static void link_on_timer_closed(uv_handle_t *handle)
{
    link_on_handle_closed(
        CONTAINER_OF((uv_timer_t *)(void *)handle, struct link, timer));
}

void link_close(struct link *link, int error)
{
    ASSERT_ON_LOOP();
    if (link->closing)
        return;
    link->closing = true;
    if (link->error == 0)
        link->error = error;
    uv_close((uv_handle_t *)&link->timer, link_on_timer_closed);
    uv_close((uv_handle_t *)&link->tcp, link_on_tcp_closed);
}

void link_flush_and_close(struct link *link, int error)
{
    ASSERT_ON_LOOP();
    if (link->closing || link->flushing)
        return;
    link->flushing = true;
    link->error = error;
    if (!link->started || link->items_count == 0)
        link_close(link, error);
    else
        uv_read_stop((uv_stream_t *)&link->tcp);
    /* The timer goes on: it gives up on a peer that does not read. */
}

/* ---- reading --------------------------------------------------------------*/

static void link_on_alloc(uv_handle_t *handle, size_t suggested,
                          uv_buf_t *ret_buffer)
{
    struct link *link = CONTAINER_OF((uv_tcp_t *)(void *)handle, struct link,
                                     tcp);

    (void)suggested;
    *ret_buffer = uv_buf_init((char *)link->read_buffer, LINK_READ_BYTES);
}

static void link_on_read(uv_stream_t *stream, ssize_t count,
                         const uv_buf_t *buffer)
{
    struct link *link = CONTAINER_OF((uv_tcp_t *)(void *)stream, struct link,
                                     tcp);
    size_t at = 0, used;
    struct message message;
    int rc = 0;

    (void)buffer;
    if (count < 0) {
        link_close(link, count == UV_EOF ? 0 : (int)count);
        return;
    }
    link->heard_ns = clock_now_ns();
    while (!link->closing && !link->flushing) {
        rc = message_decode(&link->decoder, link->read_buffer + at,
                            (size_t)count - at, &used, &message);
        at += used;
        if (rc <= 0)
            break;
        link->hooks->on_message(link, &message);
    }
    if (rc < 0)
        link_close(link, rc);
}

static void link_on_timer(uv_timer_t *timer)
{
    struct link *link = CONTAINER_OF(timer, struct link, timer);

    if (clock_now_ns() - link->heard_ns > LINK_DEAD_MS * NS_PER_MS)
        link_close(link, -ETIMEDOUT);
    else if (!link->flushing)
        link->hooks->on_tick(link);
}

static void peer_name(struct link *link)
{
    struct sockaddr_storage address;
    char host[INET6_ADDRSTRLEN] = "?";
    int size = sizeof address, port = 0;

    if (uv_tcp_getpeername(&link->tcp, (struct sockaddr *)&address, &size) < 0)
        address.ss_family = AF_UNSPEC;
    if (address.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&address;

        uv_ip4_name(in, host, sizeof host);
        port = ntohs(in->sin_port);
    } else if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)&address;

        uv_ip6_name(in, host, sizeof host);
        port = ntohs(in->sin6_port);
    }
    snprintf(link->peer, sizeof link->peer,
             strchr(host, ':') == NULL ? "%s:%d" : "[%s]:%d", host, port);
}

int link_start(struct link *link)
{
    int rc;

    ASSERT_ON_LOOP();
    ASSERT(!link->started && !link->closing);
    peer_name(link);
    link->heard_ns = clock_now_ns();
    rc = site_fault(SITE_LINK_START);
    if (rc != 0)
        return site_fail(SITE_LINK_START, link->peer, rc);
    rc = uv_tcp_nodelay(&link->tcp, 1);
    if (rc == 0)
        rc = uv_tcp_keepalive(&link->tcp, 1, KEEPALIVE_S);
    if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&link->tcp, link_on_alloc,
                           link_on_read);
    if (rc == 0)
        rc = uv_timer_start(&link->timer, link_on_timer, LINK_TICK_MS,
                            LINK_TICK_MS);
    if (rc < 0)
        return site_fail(SITE_LINK_START, link->peer, -rc);
    link->started = true;
    return 0;
}

void link_open(struct link *link)
{
    message_decoder_open(&link->decoder);
}

/* ---- writing --------------------------------------------------------------*/

/* Buffers for an item from byte `skip` on; returns how many, 0 to 2. header:
 * where its header will stay until it is written. */
static unsigned item_buffers(struct link_item *item, uint8_t *header,
                             size_t skip, uv_buf_t *ret_buffers)
{
    unsigned count = 0;

    if (skip < item->header_bytes) {
        ret_buffers[count++] = uv_buf_init(
            (char *)header + skip, (unsigned)(item->header_bytes - skip));
        skip = 0;
    } else {
        skip -= item->header_bytes;
    }
    if (item->blob != NULL && skip < item->blob->size)
        ret_buffers[count++] = uv_buf_init((char *)item->blob->data + skip,
                                           (unsigned)(item->blob->size - skip));
    return count;
}

static void link_on_written(uv_write_t *write, int status)
{
    struct link *link = CONTAINER_OF(write, struct link, write);

    if (status < 0) {
        /* Closing cancels the write; the items go with the link then. */
        link->items_writing = 0;
        link_close(link, status);
        return;
    }
    items_drop(link, link->items_writing);
    link->items_writing = 0;
    link_work(link);
}

/* Starts the next write, `skip` bytes into the first item. */
static void write_start(struct link *link, size_t skip)
{
    uv_buf_t buffers[2 * LINK_WRITE_ITEMS];
    unsigned count = 0;
    size_t i;
    int rc;

    for (i = 0; i < link->items_count && i < LINK_WRITE_ITEMS; i++) {
        struct link_item *item = item_at(link, i);

        memcpy(link->write_headers[i], item->header, MESSAGE_HEADER_BYTES);
        count += item_buffers(item, link->write_headers[i], skip,
                              buffers + count);
        skip = 0;
    }
    link->items_writing = i;
    rc = uv_write(&link->write, (uv_stream_t *)&link->tcp, buffers, count,
                  link_on_written);
    if (rc < 0) {
        link->items_writing = 0;
        link_close(link, rc);
    }
}

static void link_work(struct link *link)
{
    if (link->closing)
        return;
    if (link->items_count > 0) {
        write_start(link, 0);
    } else if (link->flushing) {
        link_close(link, link->error);
        return;
    }
    if ((link->was_full || link->room_wanted) &&
        link->queued_bytes < LINK_FULL_BYTES / 2) {
        link->was_full = link->room_wanted = false;
        link->hooks->on_room(link);
    }
}

static int ring_grow(struct link *link)
{
    size_t capacity = link->items_capacity * 2;
    struct link_item *items;
    int rc;

    if (link->items_count < link->items_capacity)
        return 0;
    rc = os_alloc(&items, capacity * sizeof *items, SITE_LINK_ALLOC);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < link->items_count; i++)
        items[i] = *item_at(link, i);
    os_free(&link->items);
    link->items = items;
    link->items_first = 0;
    link->items_capacity = capacity;
    return 0;
}

static void item_queue(struct link *link, const struct link_item *item,
                       size_t written)
{
    if (link->queued_bytes > LINK_QUEUE_MAX_BYTES || ring_grow(link) < 0) {
        blob_unref(item->blob);
        link_close(link, -ENOBUFS);
        return;
    }
    *item_at(link, link->items_count++) = *item;
    link->queued_bytes += item_bytes(item);
    if (link->items_writing == 0)
        write_start(link, written);
}

static void item_send(struct link *link, struct link_item *item)
{
    size_t size = item_bytes(item);
    uv_buf_t buffers[2];
    unsigned count;
    int wrote = 0;

    if (link->closing || link->flushing || !link->started) {
        blob_unref(item->blob);
        return;
    }
    if (link->items_count == 0) {
        count = item_buffers(item, item->header, 0, buffers);
        wrote = uv_try_write((uv_stream_t *)&link->tcp, buffers, count);
    }
    if (wrote == UV_EAGAIN)
        wrote = 0;
    if (wrote < 0)
        link_close(link, wrote);
    if (wrote < 0 || (size_t)wrote == size)
        blob_unref(item->blob);
    else
        item_queue(link, item, (size_t)wrote);
}

void link_send(struct link *link, struct blob *message)
{
    struct link_item item = {.blob = message};

    ASSERT_ON_LOOP();
    ASSERT(message->size >= MESSAGE_HEADER_BYTES);
    item_send(link, &item);
}

void link_send_body(struct link *link, enum message_type type, unsigned flags,
                    uint32_t stream, struct blob *body)
{
    struct link_item item = {.header_bytes = MESSAGE_HEADER_BYTES,
                             .blob = body};

    ASSERT_ON_LOOP();
    message_header_encode(item.header, type, flags, stream, body->data,
                          body->size);
    item_send(link, &item);
}

void link_send_empty(struct link *link, enum message_type type, unsigned flags)
{
    struct link_item item = {.header_bytes = MESSAGE_HEADER_BYTES};

    ASSERT_ON_LOOP();
    message_header_encode(item.header, type, flags, 0, NULL, 0);
    item_send(link, &item);
}

bool link_is_full(struct link *link)
{
    if (link->queued_bytes >= LINK_FULL_BYTES)
        link->was_full = true;
    return link->was_full;
}

void link_want_room(struct link *link)
{
    link->room_wanted = true;
}

/* ---- pulse ----------------------------------------------------------------*/

void link_pulse(struct link *link, struct pulse *ret_pulse)
{
    uint64_t now = clock_now_ns();

    *ret_pulse = (struct pulse){
        .sequence = ++link->pulse_sequence,
        .heard = link->pulse_heard,
        .held_ns = link->pulse_heard == 0 ? 0 : now - link->pulse_heard_ns,
    };
    link->pulse_sent_ns[ret_pulse->sequence % LINK_PULSES] = now;
}

void link_pulsed(struct link *link, const struct pulse *pulse)
{
    uint64_t now = clock_now_ns(), since;

    link->pulse_heard = pulse->sequence;
    link->pulse_heard_ns = now;
    if (pulse->heard == 0 || pulse->heard > link->pulse_sequence ||
        link->pulse_sequence - pulse->heard >= LINK_PULSES)
        return;
    since = now - link->pulse_sent_ns[pulse->heard % LINK_PULSES];
    /* At least 1: 0 means "not measured". */
    link->round_trip_ns = since > pulse->held_ns ? since - pulse->held_ns : 1;
}
