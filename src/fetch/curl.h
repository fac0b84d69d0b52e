#ifndef HUSK_FETCH_CURL_H
#define HUSK_FETCH_CURL_H

#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * One request by libcurl, with the rules of download.h. Blocks; any thread.
 */
enum { CURL_TAG = 200 };

struct curl_request {
    const char *url;
    uint64_t from;          /* ask for what is from here on */
    const char *if_version; /* with from: only if it is still this (RFC 9110,
                               13.1.5); without: only if it is not; or NULL */
    /* Bytes of the answer; off is where they belong: 0 for the first if the
     * server did not heed from. 0 or -errno, which ends it. */
    int (*write)(void *opaque, const void *buf, size_t len, uint64_t off);
    /* Before the first byte: the version that it is, "" if unknown. */
    int (*begin)(void *opaque, const char *version);
    void (*progress)(void *opaque, uint64_t done, uint64_t total); /* or NULL */
    void *opaque;
};

/* 0; 1: it is still if_version, and was not sent; -ENOENT: the server has
 * none, or does not give it; -ERANGE: from is no place in it; what write or
 * begin returned; or another failure. With err. */
MUST_CHECK int curl_get(const struct curl_request *r, struct err *err);

#endif
