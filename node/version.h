/* SPDX-License-Identifier: Apache-2.0 */
/* node/version.h - the one place that names the version. */
#ifndef TIDEMARK_NODE_VERSION_H
#define TIDEMARK_NODE_VERSION_H

#define VERSION_TEXT "0.1.0"

#endif
