/* No type checks by macros: the functions are pointers here. */
#define CURL_DISABLE_TYPECHECK

#include "fetch/curl.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#undef curl_easy_setopt
#undef curl_easy_getinfo

enum {
    CONNECT_SECONDS = 30,
    QUIET_SECONDS = 60, /* without a byte */
    MAX_REDIRECTS = 10,
    HTTP_PARTIAL = 206,
    HTTP_NOT_MODIFIED = 304,
    HTTP_RANGE = 416,
    HTTP_ERROR = 400
};

struct curl_lib {
    void *handle;
    __typeof__(&curl_easy_init) init;
    __typeof__(&curl_easy_setopt) set;
    __typeof__(&curl_easy_perform) perform;
    __typeof__(&curl_easy_getinfo) info;
    __typeof__(&curl_easy_cleanup) cleanup;
    __typeof__(&curl_easy_strerror) strerror;
    __typeof__(&curl_slist_append) append;
    __typeof__(&curl_slist_free_all) free_list;
};

/* One request under way. */
struct request {
    const struct curl_request *r;
    const struct curl_lib *lib;
    CURL *curl;
    char etag[CURL_TAG], modified[CURL_TAG];
    bool begun;
    uint64_t off;
    int rc; /* what a function of the caller's returned */
};

/* --- The library ------------------------------------------------------------
 */

static int find(const struct curl_lib *lib, const char *name, void *to)
{
    void *f = dlsym(lib->handle, name);

    /* POSIX lets a data pointer be one to a function; C does not. */
    memcpy(to, &f, sizeof(f));
    return f ? 0 : -ENOSYS;
}

static int load(struct curl_lib *lib, struct err *err)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

    for (size_t i = 0; !lib->handle && i < ARRAY_LEN(names); i++)
        lib->handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lib->handle)
        return err_set(err, -ENOTSUP,
                       "a download needs libcurl, which is not there: install "
                       "libcurl4");
    if (find(lib, "curl_easy_init", &lib->init) < 0 ||
        find(lib, "curl_easy_setopt", &lib->set) < 0 ||
        find(lib, "curl_easy_perform", &lib->perform) < 0 ||
        find(lib, "curl_easy_getinfo", &lib->info) < 0 ||
        find(lib, "curl_easy_cleanup", &lib->cleanup) < 0 ||
        find(lib, "curl_easy_strerror", &lib->strerror) < 0 ||
        find(lib, "curl_slist_append", &lib->append) < 0 ||
        find(lib, "curl_slist_free_all", &lib->free_list) < 0)
        return err_set(err, -ENOTSUP, "libcurl lacks a function: is it whole?");
    return 0;
}

/* --- What libcurl calls -----------------------------------------------------
 */

static long status_of(const struct request *q)
{
    long status = 0;

    (void)q->lib->info(q->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* "Name: value\r\n" */
static bool take_header(const char *line, size_t len, const char *name,
                        char value[CURL_TAG])
{
    size_t n = strlen(name);

    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    line += n + 1;
    len -= n + 1;
    while (len && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len && (line[len - 1] == '\r' || line[len - 1] == '\n' ||
                   line[len - 1] == ' '))
        len--;
    if (len >= CURL_TAG)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            return false;
    memcpy(value, line, len);
    value[len] = '\0';
    return true;
}

static size_t on_header(char *line, size_t size, size_t nr, void *opaque)
{
    struct request *q = opaque;
    size_t len = size * nr;

    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        /* Of a redirection nothing counts. */
        q->etag[0] = '\0';
        q->modified[0] = '\0';
    } else if (!take_header(line, len, "ETag", q->etag)) {
        (void)take_header(line, len, "Last-Modified", q->modified);
    }
    return len;
}

/* A weak validator says that it means the same, not that the bytes are. */
static const char *version_of(const struct request *q)
{
    if (q->etag[0] && strncmp(q->etag, "W/", 2) != 0)
        return q->etag;
    return q->modified;
}

static int begin(struct request *q)
{
    if (q->begun)
        return 0;
    q->begun = true;
    q->off = status_of(q) == HTTP_PARTIAL ? q->r->from : 0;
    return q->r->begin ? q->r->begin(q->r->opaque, version_of(q)) : 0;
}

static size_t on_data(char *buf, size_t size, size_t nr, void *opaque)
{
    struct request *q = opaque;
    size_t len = size * nr;

    q->rc = begin(q);
    if (q->rc == 0)
        q->rc = q->r->write(q->r->opaque, buf, len, q->off);
    q->off += len;
    return q->rc == 0 ? len : 0;
}

static int on_progress(void *opaque, curl_off_t total, curl_off_t now,
                       curl_off_t up_total, curl_off_t up_now)
{
    const struct request *q = opaque;
    uint64_t from =
        q->begun && q->off > (uint64_t)now ? q->off - (uint64_t)now : 0;

    (void)up_total;
    (void)up_now;
    if (q->r->progress && total > 0)
        q->r->progress(q->r->opaque, from + (uint64_t)now,
                       from + (uint64_t)total);
    return 0;
}

/* --- The request ------------------------------------------------------------
 */

static int set_rules(const struct request *q)
{
    const struct curl_lib *l = q->lib;
    bool secure = strncasecmp(q->r->url, "https:", 6) == 0;
    CURLcode rc = CURLE_OK;

    rc |= l->set(q->curl, CURLOPT_URL, q->r->url);
    rc |= l->set(q->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    rc |= l->set(q->curl, CURLOPT_REDIR_PROTOCOLS_STR,
                 secure ? "https" : "http,https");
    rc |= l->set(q->curl, CURLOPT_FOLLOWLOCATION, 1L);
    rc |= l->set(q->curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    rc |= l->set(q->curl, CURLOPT_FAILONERROR, 1L);
    rc |= l->set(q->curl, CURLOPT_NOSIGNAL, 1L);
    rc |= l->set(q->curl, CURLOPT_USERAGENT, "husk");
    rc |= l->set(q->curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    rc |= l->set(q->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    rc |= l->set(q->curl, CURLOPT_LOW_SPEED_TIME, (long)QUIET_SECONDS);
    return rc == CURLE_OK ? 0 : -ENOTSUP;
}

static int set_functions(struct request *q)
{
    const struct curl_lib *l = q->lib;
    CURLcode rc = CURLE_OK;

    rc |= l->set(q->curl, CURLOPT_HEADERFUNCTION, on_header);
    rc |= l->set(q->curl, CURLOPT_HEADERDATA, q);
    rc |= l->set(q->curl, CURLOPT_WRITEFUNCTION, on_data);
    rc |= l->set(q->curl, CURLOPT_WRITEDATA, q);
    rc |= l->set(q->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    rc |= l->set(q->curl, CURLOPT_XFERINFODATA, q);
    rc |= l->set(q->curl, CURLOPT_NOPROGRESS, 0L);
    return rc == CURLE_OK ? 0 : -ENOTSUP;
}

/* If-Range takes a tag or a date; the other two take one each. */
static int set_conditions(struct request *q, struct curl_slist **list)
{
    const char *version = q->r->if_version, *name = "If-Range";
    char line[CURL_TAG + 32], range[32];

    if (q->r->from) {
        (void)snprintf(range, sizeof(range), "%llu-",
                       (unsigned long long)q->r->from);
        if (q->lib->set(q->curl, CURLOPT_RANGE, range) != CURLE_OK)
            return -ENOTSUP;
    } else {
        name =
            version && *version == '"' ? "If-None-Match" : "If-Modified-Since";
    }
    if (!version || !*version)
        return 0;
    (void)snprintf(line, sizeof(line), "%s: %s", name, version);
    *list = q->lib->append(NULL, line);
    if (!*list)
        return -ENOMEM;
    return q->lib->set(q->curl, CURLOPT_HTTPHEADER, *list) == CURLE_OK
               ? 0
               : -ENOTSUP;
}

static int judge(struct request *q, CURLcode rc, struct err *err)
{
    long status = status_of(q);

    if (q->rc < 0) {
        errno = -q->rc;
        return err_sys(err, "download '%.200s'", q->r->url);
    }
    if (rc == CURLE_OK && status == HTTP_NOT_MODIFIED)
        return 1;
    if (rc == CURLE_OK) { /* an empty file begins here */
        q->rc = begin(q);
        return q->rc < 0 ? err_set(err, q->rc, "download '%.200s': it failed",
                                   q->r->url)
                         : 0;
    }
    if (status == HTTP_RANGE)
        return err_set(err, -ERANGE, "download '%.200s': it ends before that",
                       q->r->url);
    if (rc == CURLE_HTTP_RETURNED_ERROR && status >= HTTP_ERROR)
        return err_set(err, status < 500 ? -ENOENT : -EIO,
                       "download '%.200s': the server answers with error %ld",
                       q->r->url, status);
    return err_set(err, rc == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO,
                   "download '%.200s': %s", q->r->url, q->lib->strerror(rc));
}

int curl_get(const struct curl_request *r, struct err *err)
{
    struct curl_lib lib = {.handle = NULL};
    struct request q = {.r = r, .lib = &lib};
    struct curl_slist *list = NULL;
    int rc = load(&lib, err);

    if (rc < 0)
        return rc;
    q.curl = lib.init();
    if (!q.curl)
        return err_set(err, -ENOMEM, "download '%.200s': out of memory",
                       r->url);
    rc = set_rules(&q);
    if (rc == 0)
        rc = set_functions(&q);
    if (rc == 0)
        rc = set_conditions(&q, &list);
    if (rc < 0)
        (void)err_set(err, rc, "download '%.200s': libcurl refuses", r->url);
    else
        rc = judge(&q, lib.perform(q.curl), err);
    lib.cleanup(q.curl);
    lib.free_list(list);
    return rc;
}
