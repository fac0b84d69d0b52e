#include "net/helper.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/frame.h"
#include "net/jail.h"

enum {
    MAX_TIMERS = 8,
    SHARE = 64,   /* frames in one turn */
    FULL_MS = 50, /* how long a frame waits for a guest that takes none */
    /* libslirp's own frames: TCP segments that the guest's card takes as many
     * in one. Some of them must fit into a window of 64 KiB. */
    MTU = 65520,
    LARGE_MSS = 32 * NET_MTU / 3,
    NS_PER_MS = 1000000,
    FAILED = 1
};

#define GUEST  0x0a00020fu /* 10.0.2.15 */
#define PREFIX "fec0::"

struct slirp_lib {
    __typeof__(&slirp_new) new;
    __typeof__(&slirp_pollfds_fill) fill;
    __typeof__(&slirp_pollfds_poll) poll;
    __typeof__(&slirp_input) input;
    __typeof__(&slirp_add_hostxfwd) add;
    __typeof__(&slirp_remove_hostxfwd) remove;
};

struct helper_timer {
    bool used, armed;
    int64_t at_ms;
    SlirpTimerCb fn;
    void *opaque;
};

struct helper {
    struct slirp_lib lib;
    Slirp *slirp;
    struct helper_timer timers[MAX_TIMERS];
    struct pollfd *fds;
    size_t nr_fds, room;
    uint8_t in[NET_HEAD + NET_MAX_FRAME]; /* of the guest */
    uint8_t out[NET_MAX_FRAME];           /* for it */
};

/* --- What libslirp asks for -------------------------------------------------
 */

static int64_t now_ns(void *opaque)
{
    struct timespec ts = {0};

    (void)opaque;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* The other side takes frames as fast as the guest does. One that has stopped
 * loses them, as in any network; TCP sends them again. */
static void send_one(const struct net_head *h, const void *frame, size_t len)
{
    struct net_head head = *h;
    union { /* sendmsg only reads */
        const void *in;
        void *buf;
    } u = {.in = frame};
    struct iovec iov[] = {{&head, sizeof(head)}, {u.buf, len}};
    const struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    struct pollfd p = {.fd = HELPER_FRAMES, .events = POLLOUT};

    for (int tries = 0; tries < 2; tries++) {
        if (sendmsg(HELPER_FRAMES, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return;
        if (errno == EPIPE || errno == ECONNRESET)
            _exit(0);
        if (errno != EAGAIN || poll(&p, 1, FULL_MS) <= 0)
            return;
    }
}

static ssize_t to_guest(const void *buf, size_t len, void *opaque)
{
    struct helper *hp = opaque;
    uint8_t piece[NET_MIN_FRAME + NET_MTU];
    struct net_head h;
    size_t off = 0, n;

    if (len < NET_MIN_FRAME || len > sizeof(hp->out))
        return (ssize_t)len;
    memcpy(hp->out, buf, len);
    if (frame_is_large(&h, hp->out, len) || len <= NET_MIN_FRAME + NET_MTU) {
        send_one(&h, hp->out, len);
        return (ssize_t)len;
    }
    while ((n = frame_fragment(hp->out, len, &off, piece)) > 0)
        send_one(&h, piece, n);
    if (off == 0) /* IPv6: nobody but its sender may cut it */
        send_one(&h, hp->out, len);
    return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
    (void)msg;
    (void)opaque;
}

static void *timer_make(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
    struct helper *hp = opaque;

    unsigned i = 0;

    while (i < MAX_TIMERS && hp->timers[i].used)
        i++;
    assert(i < MAX_TIMERS); /* libslirp has one */
    hp->timers[i] =
        (struct helper_timer){.used = true, .fn = fn, .opaque = fn_opaque};
    return &hp->timers[i];
}

static void timer_drop(void *timer, void *opaque)
{
    struct helper_timer *t = timer;

    (void)opaque;
    t->used = false;
    t->armed = false;
}

static void timer_set(void *timer, int64_t at_ms, void *opaque)
{
    struct helper_timer *t = timer;

    (void)opaque;
    t->armed = true;
    t->at_ms = at_ms;
}

static void watch_fd(int fd, void *opaque)
{
    (void)fd; /* all are asked for again before each wait */
    (void)opaque;
}

static void notify(void *opaque)
{
    (void)opaque; /* only this thread could wait */
}

static const SlirpCb callbacks = {
    .send_packet = to_guest,
    .guest_error = guest_error,
    .clock_get_ns = now_ns,
    .timer_new = timer_make,
    .timer_free = timer_drop,
    .timer_mod = timer_set,
    .register_poll_fd = watch_fd,
    .unregister_poll_fd = watch_fd,
    .notify = notify,
};

/* --- What the other process asks for ----------------------------------------
 */

static void from_guest(struct helper *hp, size_t len)
{
    struct net_head h;

    if (len < NET_HEAD + NET_MIN_FRAME)
        return;
    memcpy(&h, hp->in, sizeof(h));
    len -= NET_HEAD;
    if (frame_finish(&h, hp->in + NET_HEAD, len) < 0)
        return;
    if (h.flags & NET_TAKES_GSO4 && h.flags & NET_TAKES_GSO6)
        frame_raise_mss(hp->in + NET_HEAD, len, LARGE_MSS);
    hp->lib.input(hp->slirp, hp->in + NET_HEAD, (int)len);
}

static struct in_addr ip4(uint32_t address)
{
    return (struct in_addr){htonl(address)};
}

static int fill_address(const struct vmconf_port *p,
                        struct sockaddr_storage *host, socklen_t *len)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(p->host)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(p->host)};

    if (p->ip6 ? inet_pton(AF_INET6, p->address, &in6.sin6_addr) != 1
               : inet_pton(AF_INET, p->address, &in.sin_addr) != 1)
        return -EINVAL;
    if (p->ip6)
        memcpy(host, &in6, sizeof(in6));
    else
        memcpy(host, &in, sizeof(in));
    *len = p->ip6 ? sizeof(in6) : sizeof(in);
    return 0;
}

/* By IPv6 the guest is where its card's address says (RFC 4291, appendix A),
 * as nobody has given it another. */
static void fill_guest6(const struct helper_ask *q, struct sockaddr_in6 *guest)
{
    uint8_t *a = guest->sin6_addr.s6_addr;

    guest->sin6_family = AF_INET6;
    guest->sin6_port = htons(q->port.guest);
    (void)inet_pton(AF_INET6, PREFIX, &guest->sin6_addr);
    memcpy(a + 8, q->mac, 3);
    a[8] ^= 2;
    a[11] = 0xff;
    a[12] = 0xfe;
    memcpy(a + 13, q->mac + 3, 3);
}

static socklen_t fill_guest(const struct helper_ask *q,
                            struct sockaddr_storage *to)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_port = htons(q->port.guest),
                             .sin_addr = ip4(GUEST)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (!q->port.ip6) {
        memcpy(to, &in, sizeof(in));
        return sizeof(in);
    }
    fill_guest6(q, &in6);
    memcpy(to, &in6, sizeof(in6));
    return sizeof(in6);
}

static int change_port(struct helper *hp, const struct helper_ask *q)
{
    struct vmconf_port p = q->port;
    struct sockaddr_storage host = {0}, guest = {0};
    int flags = p.udp ? SLIRP_HOSTFWD_UDP : 0, rc;
    socklen_t len = 0, guest_len;

    p.address[sizeof(p.address) - 1] = '\0';
    if (fill_address(&p, &host, &len) < 0)
        return -EINVAL;
    if (p.ip6)
        flags |= SLIRP_HOSTFWD_V6ONLY;
    guest_len = fill_guest(q, &guest);
    errno = 0;
    if (q->what == HELPER_PUBLISH)
        rc = hp->lib.add(hp->slirp, (struct sockaddr *)&host, len,
                         (struct sockaddr *)&guest, guest_len, flags);
    else
        rc = hp->lib.remove(hp->slirp, (struct sockaddr *)&host, len, flags);
    if (rc >= 0)
        return 0;
    return errno ? -errno : -EIO;
}

static void take_asks(struct helper *hp)
{
    struct helper_answer a = {.rc = -EINVAL};
    struct helper_ask q;
    ssize_t n = recv(HELPER_CONTROL, &q, sizeof(q), MSG_DONTWAIT);

    if (n == 0)
        _exit(0);
    if (n < 0)
        return;
    if (n == sizeof(q) &&
        (q.what == HELPER_PUBLISH || q.what == HELPER_UNPUBLISH))
        a.rc = change_port(hp, &q);
    (void)send(HELPER_CONTROL, &a, sizeof(a), MSG_NOSIGNAL);
}

static void take_frames(struct helper *hp)
{
    for (unsigned i = 0; i < SHARE; i++) {
        ssize_t n = recv(HELPER_FRAMES, hp->in, sizeof(hp->in), MSG_DONTWAIT);

        if (n == 0)
            _exit(0);
        if (n < 0)
            return;
        from_guest(hp, (size_t)n);
    }
}

/* --- Waiting ----------------------------------------------------------------
 */

static int add_poll(int fd, int events, void *opaque)
{
    struct helper *hp = opaque;
    struct pollfd *more;
    size_t room = hp->room ? 2 * hp->room : 64;

    if (hp->nr_fds == hp->room) {
        more = realloc(hp->fds, room * sizeof(*more));
        if (!more)
            return -1;
        hp->fds = more;
        hp->room = room;
    }
    hp->fds[hp->nr_fds] = (struct pollfd){.fd = fd};
    if (events & SLIRP_POLL_IN)
        hp->fds[hp->nr_fds].events |= POLLIN;
    if (events & SLIRP_POLL_OUT)
        hp->fds[hp->nr_fds].events |= POLLOUT;
    if (events & SLIRP_POLL_PRI)
        hp->fds[hp->nr_fds].events |= POLLPRI;
    return (int)hp->nr_fds++;
}

static int get_revents(int i, void *opaque)
{
    const struct helper *hp = opaque;
    int got = i >= 0 && (size_t)i < hp->nr_fds ? hp->fds[i].revents : 0;
    int events = 0;

    if (got & POLLIN)
        events |= SLIRP_POLL_IN;
    if (got & POLLOUT)
        events |= SLIRP_POLL_OUT;
    if (got & POLLPRI)
        events |= SLIRP_POLL_PRI;
    if (got & POLLERR)
        events |= SLIRP_POLL_ERR;
    if (got & POLLHUP)
        events |= SLIRP_POLL_HUP;
    return events;
}

/* Until the first timer, max_ms at most. */
static int time_left(const struct helper *hp, uint32_t max_ms)
{
    int64_t now = now_ns(NULL) / NS_PER_MS;
    int64_t left = max_ms > INT32_MAX ? INT32_MAX : (int64_t)max_ms;

    for (unsigned i = 0; i < MAX_TIMERS; i++)
        if (hp->timers[i].armed && hp->timers[i].at_ms - now < left)
            left = hp->timers[i].at_ms - now;
    if (left == INT32_MAX)
        return -1;
    return left > 0 ? (int)left : 0;
}

static void run_timers(struct helper *hp)
{
    int64_t now = now_ns(NULL) / NS_PER_MS;

    for (unsigned i = 0; i < MAX_TIMERS; i++)
        if (hp->timers[i].armed && hp->timers[i].at_ms <= now) {
            hp->timers[i].armed = false;
            hp->timers[i].fn(hp->timers[i].opaque);
        }
}

static void turn(struct helper *hp)
{
    uint32_t timeout = UINT32_MAX;
    int rc;

    hp->nr_fds = 0;
    (void)add_poll(HELPER_FRAMES, SLIRP_POLL_IN, hp);
    (void)add_poll(HELPER_CONTROL, SLIRP_POLL_IN, hp);
    hp->lib.fill(hp->slirp, &timeout, add_poll, hp);
    rc = poll(hp->fds, hp->nr_fds, time_left(hp, timeout));
    if (rc > 0 && hp->fds[0].revents)
        take_frames(hp);
    if (rc > 0 && hp->fds[1].revents)
        take_asks(hp);
    hp->lib.poll(hp->slirp, rc < 0, get_revents, hp);
    run_timers(hp);
}

/* --- The process ------------------------------------------------------------
 */

static int find(void *handle, const char *name, void *to)
{
    void *f = dlsym(handle, name);

    /* POSIX lets a data pointer be one to a function; C does not. */
    memcpy(to, &f, sizeof(f));
    return f ? 0 : -ENOTSUP;
}

static int load(struct slirp_lib *lib)
{
    void *h = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);

    if (!h || find(h, "slirp_new", &lib->new) < 0 ||
        find(h, "slirp_pollfds_fill", &lib->fill) < 0 ||
        find(h, "slirp_pollfds_poll", &lib->poll) < 0 ||
        find(h, "slirp_input", &lib->input) < 0 ||
        find(h, "slirp_add_hostxfwd", &lib->add) < 0 ||
        find(h, "slirp_remove_hostxfwd", &lib->remove) < 0)
        return -ENOTSUP;
    return 0;
}

static int make_network(struct helper *hp)
{
    SlirpConfig cfg = {
        .version = 4,
        .in_enabled = true,
        .vnetwork = ip4(0x0a000200), /* 10.0.2.0 */
        .vnetmask = ip4(0xffffff00),
        .vhost = ip4(0x0a000202),
        .vdhcp_start = ip4(GUEST),
        .vnameserver = ip4(0x0a000203),
        .in6_enabled = true,
        .vprefix_len = 64,
        .if_mtu = MTU,
        .if_mru = MTU,
    };

    (void)inet_pton(AF_INET6, PREFIX, &cfg.vprefix_addr6);
    (void)inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
    (void)inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
    hp->slirp = hp->lib.new(&cfg, &callbacks, hp);
    return hp->slirp ? 0 : -EIO;
}

/* The terminal is husk's: who has it open can type into it. */
static int leave_terminal(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
        if (dup2(fd, i) < 0)
            return -errno;
    if (fd > STDERR_FILENO)
        (void)close(fd);
    return 0;
}

int helper_main(void)
{
    struct helper *hp = calloc(1, sizeof(*hp));
    struct helper_answer a = {.rc = -ENOMEM};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, HELPER_NAME);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN); /* the terminal's are for husk */
    if (hp)
        a.rc = load(&hp->lib);
    if (a.rc == 0)
        a.rc = leave_terminal();
    if (a.rc == 0)
        a.rc = make_network(hp);
    if (a.rc == 0)
        a.rc = jail_enter();
    if (send(HELPER_CONTROL, &a, sizeof(a), MSG_NOSIGNAL) < 0 || a.rc < 0) {
        free(hp);
        return FAILED;
    }
    for (;;)
        turn(hp);
}
