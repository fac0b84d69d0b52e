#ifndef HUSK_FETCH_DOWNLOAD_H
#define HUSK_FETCH_DOWNLOAD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "fetch/sum.h"

/*
 * Files from http and https servers, by libcurl, which is loaded when it is
 * needed first: a VM that runs has no use for it. What was fetched is kept in
 * a folder, by its sum where that is known, else by its address:
 *
 *   NAME           the file
 *   NAME.etag      which version of the address it is (if no sum was known)
 *   NAME.part      a download that was cut short, which goes on next time
 *   NAME.part.etag its version
 *
 * The server is not trusted: it may send anything, and for as long as there is
 * space. Redirections stay with http and https, and never leave https.
 */

/* Whether it begins as an address of the web. */
bool download_is_url(const char *text);

struct download {
    const char *url;
    const char *dir;       /* of the files above; it is there */
    const struct sum *sum; /* what it must have, or NULL */
    void (*progress)(void *opaque, uint64_t done, uint64_t total); /* or NULL */
    void *opaque;
};

/*
 * The path of the whole file, which may be there already; fd is open for
 * reading. -EBUSY: another process is at it; -EUCLEAN: it has another sum, and
 * is gone; -ENOENT: the server has none; -ENOSPC, and it is gone; else what
 * failed. With err.
 */
MUST_CHECK int download_file(const struct download *d, char path[PATH_MAX],
                             int *fd, struct err *err);

/* A small text of max bytes at most; caller frees *text. -ENOENT: the server
 * does not give it. */
MUST_CHECK int download_text(const char *url, size_t max, char **text,
                             size_t *len, struct err *err);

#endif
