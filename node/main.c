/* SPDX-License-Identifier: Apache-2.0 */
/* node/main.c - kept apart so that tests can link everything else. */
#include "node/command.h"

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
