/* SPDX-License-Identifier: Apache-2.0 */
/* lease/static.c - see static.h. */
#include "lease/static.h"

#include "base/assert.h"

#include <errno.h>

bool static_is_primary(const struct address *advertise,
                       const struct address *primary)
{
    ASSERT(advertise->port != 0 && primary->port != 0);
    return address_is_same(advertise, primary);
}

int static_epoch(epoch_t highest, uint32_t random, epoch_t *ret_epoch)
{
    if (epoch_number(highest) >= EPOCH_NUMBER_MAX)
        return -EOVERFLOW;
    *ret_epoch = epoch_raise(highest, random);
    ASSERT(*ret_epoch > highest);
    return 0;
}
