#include "net/user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/helper.h"

enum {
    SHARE = 64,             /* frames in one turn of the loop */
    SOCKET_BYTES = 1 << 20, /* what may wait in a socket */
    ANSWER_MS = 2000,
    END_MS = 500
};

struct net_user {
    struct loop *loop;
    pid_t pid;
    uint8_t mac[6];
    int frames, control; /* -1: gone */
    bool started, down;
    struct net_user_card card;
    /* What the card asks for, from any thread; the timer brings it to the
     * loop's, which alone changes what is waited for. */
    _Atomic bool blocked; /* send has said -EAGAIN */
    _Atomic bool ready;   /* the card takes frames again */
    struct timer timer;
    bool holding; /* buf has a frame that the card did not take */
    size_t len;
    uint8_t buf[NET_HEAD + NET_MAX_FRAME];
    struct vmconf_port ports[VMCONF_MAX_PORTS];
    unsigned nr_ports;
};

/* --- Frames -----------------------------------------------------------------
 */

static void watch(struct net_user *nu)
{
    uint32_t events = nu->holding ? 0 : EPOLLIN;

    if (atomic_load(&nu->blocked))
        events |= EPOLLOUT;
    if (nu->started && !nu->down)
        loop_mod_fd(nu->loop, nu->frames, events);
}

static void lose(struct net_user *nu)
{
    if (nu->down)
        return;
    nu->down = true;
    loop_del_fd(nu->loop, nu->frames);
    log_err("net", "the process of the network has ended: the guest's cable is "
                   "out");
    nu->card.gone(nu->card.opaque);
}

/* Returns whether there may be more. */
static bool take_one(struct net_user *nu)
{
    ssize_t n = recv(nu->frames, nu->buf, sizeof(nu->buf), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        lose(nu);
        return false;
    }
    nu->len = (size_t)n;
    if (nu->len < NET_HEAD + NET_MIN_FRAME)
        return true;
    nu->holding = !nu->card.receive(nu->card.opaque, nu->buf, nu->len);
    return !nu->holding;
}

static void on_frames(void *opaque, int fd, uint32_t events)
{
    struct net_user *nu = opaque;

    (void)fd;
    if (events & EPOLLOUT && atomic_exchange(&nu->blocked, false))
        nu->card.writable(nu->card.opaque);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !nu->holding)
        for (unsigned i = 0; i < SHARE && take_one(nu); i++)
            ;
    watch(nu);
}

static void on_timer(void *opaque)
{
    struct net_user *nu = opaque;

    if (nu->down || !nu->started)
        return;
    if (atomic_exchange(&nu->ready, false) && nu->holding)
        nu->holding = !nu->card.receive(nu->card.opaque, nu->buf, nu->len);
    watch(nu);
}

static int user_send(void *opaque, const struct iovec *iov, int n)
{
    struct net_user *nu = opaque;
    union { /* sendmsg only reads */
        const struct iovec *in;
        struct iovec *iov;
    } u = {.in = iov};
    const struct msghdr m = {.msg_iov = u.iov, .msg_iovlen = (size_t)n};
    ssize_t rc;

    do
        rc = sendmsg(nu->frames, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (rc < 0 && errno == EINTR);
    if (rc >= 0 || errno != EAGAIN)
        return 0;
    atomic_store(&nu->blocked, true);
    timer_arm(&nu->timer, 0);
    return -EAGAIN;
}

static void user_ready(void *opaque)
{
    struct net_user *nu = opaque;

    atomic_store(&nu->ready, true);
    timer_arm(&nu->timer, 0);
}

struct net_ops net_user_ops(struct net_user *nu)
{
    return (struct net_ops){user_send, user_ready, nu};
}

/* --- Ports ------------------------------------------------------------------
 */

static int ask(struct net_user *nu, uint32_t what,
               const struct vmconf_port *port)
{
    struct helper_ask q = {.what = what, .port = *port};
    struct helper_answer a = {0};
    struct pollfd p = {.fd = nu->control, .events = POLLIN};

    memcpy(q.mac, nu->mac, sizeof(q.mac));
    if (send(nu->control, &q, sizeof(q), MSG_NOSIGNAL) < 0)
        return -errno;
    if (poll(&p, 1, ANSWER_MS) <= 0)
        return -ETIMEDOUT;
    if (recv(nu->control, &a, sizeof(a), MSG_DONTWAIT) != sizeof(a) || a.rc > 0)
        return -EIO;
    return a.rc;
}

static int find_port(const struct net_user *nu, const struct vmconf_port *port)
{
    for (unsigned i = 0; i < nu->nr_ports; i++)
        if (vmconf_same_port(&nu->ports[i], port))
            return (int)i;
    return -1;
}

int net_user_publish(struct net_user *nu, const struct vmconf_port *port,
                     struct err *err)
{
    char text[VMCONF_PORT_TEXT];
    int rc;

    vmconf_print_port(port, text);
    if (find_port(nu, port) >= 0)
        return err_set(err, -EEXIST, "publish %s: that port is open already",
                       text);
    if (nu->nr_ports == VMCONF_MAX_PORTS)
        return err_set(err, -EINVAL, "publish %s: there are %d already", text,
                       VMCONF_MAX_PORTS);
    rc = ask(nu, HELPER_PUBLISH, port);
    if (rc < 0)
        return err_set(err, rc, "publish %s: %s", text, strerrordesc_np(-rc));
    nu->ports[nu->nr_ports++] = *port;
    return 0;
}

int net_user_unpublish(struct net_user *nu, const struct vmconf_port *port,
                       struct err *err)
{
    char text[VMCONF_PORT_TEXT];
    int i = find_port(nu, port), rc;

    vmconf_print_port(port, text);
    if (i < 0)
        return err_set(err, -ENOENT, "close %s: that port is not open", text);
    rc = ask(nu, HELPER_UNPUBLISH, &nu->ports[i]);
    if (rc < 0)
        return err_set(err, rc, "close %s: %s", text, strerrordesc_np(-rc));
    nu->ports[i] = nu->ports[--nu->nr_ports];
    return 0;
}

const struct vmconf_port *net_user_ports(const struct net_user *nu,
                                         unsigned *nr)
{
    *nr = nu->nr_ports;
    return nu->ports;
}

/* --- The process ------------------------------------------------------------
 */

static int make_pair(int pair[2], struct err *err)
{
    const int bytes = SOCKET_BYTES;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(err, "start the network");
    /* Less will do, too, if the host allows no more. */
    for (int i = 0; i < 2; i++)
        (void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    return 0;
}

/* To a number that is not one of the two that it shall have there. */
static int move_up(int *fd)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, HELPER_CONTROL + 1);

    if (high < 0)
        return -errno;
    (void)close(*fd);
    *fd = high;
    return 0;
}

/* All signals at their defaults: the terminal's are for husk, which tells. */
static int spawn(pid_t *pid, posix_spawn_file_actions_t *actions)
{
    char name[] = HELPER_NAME, *argv[] = {name, NULL}, *env[] = {NULL};
    posix_spawnattr_t attr;
    sigset_t all, none;
    int rc = posix_spawnattr_init(&attr);

    if (rc)
        return -rc;
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setpgroup(&attr, 0);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETPGROUP);
    rc = posix_spawn(pid, "/proc/self/exe", actions, &attr, argv, env);
    (void)posix_spawnattr_destroy(&attr);
    return -rc;
}

/* It says that it stands, or why not. */
static int wait_for_it(struct net_user *nu, struct err *err)
{
    struct pollfd p = {.fd = nu->control, .events = POLLIN};
    struct helper_answer a = {.rc = -EIO};

    if (poll(&p, 1, ANSWER_MS) > 0)
        (void)!recv(nu->control, &a, sizeof(a), MSG_DONTWAIT);
    if (a.rc == 0)
        return 0;
    if (a.rc == -ENOTSUP)
        return err_set(err, a.rc,
                       "the network needs libslirp, which is not there: "
                       "install libslirp0, or use --net none");
    return err_set(err, a.rc < 0 ? a.rc : -EIO,
                   "start the network: its process has failed");
}

static int start_process(struct net_user *nu, int *frames, int *control)
{
    posix_spawn_file_actions_t actions;
    int rc = move_up(frames);

    if (rc == 0)
        rc = move_up(control);
    if (rc == 0)
        rc = -posix_spawn_file_actions_init(&actions);
    if (rc < 0)
        return rc;
    rc = -posix_spawn_file_actions_adddup2(&actions, *frames, HELPER_FRAMES);
    if (rc == 0)
        rc = -posix_spawn_file_actions_adddup2(&actions, *control,
                                               HELPER_CONTROL);
    if (rc == 0)
        rc = spawn(&nu->pid, &actions);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static int start(struct net_user *nu, struct err *err)
{
    int frames[2], control[2];
    int rc = make_pair(frames, err);

    if (rc < 0)
        return rc;
    rc = make_pair(control, err);
    if (rc < 0) {
        (void)close(frames[0]);
        (void)close(frames[1]);
        return rc;
    }
    nu->frames = frames[0];
    nu->control = control[0];
    rc = start_process(nu, &frames[1], &control[1]);
    (void)close(frames[1]);
    (void)close(control[1]);
    if (rc == 0)
        return wait_for_it(nu, err);
    errno = -rc;
    return err_sys(err, "start the network");
}

int net_user_new(struct net_user **out, struct loop *loop, const uint8_t mac[6],
                 struct err *err)
{
    struct net_user *nu = calloc(1, sizeof(*nu));
    int rc;

    if (!nu)
        return err_set(err, -ENOMEM, "start the network: out of memory");
    nu->loop = loop;
    memcpy(nu->mac, mac, sizeof(nu->mac));
    nu->frames = -1;
    nu->control = -1;
    timer_init(&nu->timer, loop, on_timer, nu);
    rc = start(nu, err);
    if (rc < 0) {
        net_user_free(nu);
        return rc;
    }
    *out = nu;
    return 0;
}

/* It ends when its sockets do; if not, it is made to. */
static void end_process(pid_t pid)
{
    for (int ms = 0; ms < END_MS; ms++) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        (void)poll(NULL, 0, 1);
    }
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void net_user_free(struct net_user *nu)
{
    timer_cancel(&nu->timer);
    if (nu->started && !nu->down)
        loop_del_fd(nu->loop, nu->frames);
    if (nu->frames >= 0)
        (void)close(nu->frames);
    if (nu->control >= 0)
        (void)close(nu->control);
    if (nu->pid > 0)
        end_process(nu->pid);
    free(nu);
}

int net_user_start(struct net_user *nu, const struct net_user_card *card,
                   struct err *err)
{
    int rc;

    nu->card = *card;
    rc = loop_add_fd(nu->loop, nu->frames, EPOLLIN, on_frames, nu);
    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "start the network");
    }
    nu->started = true;
    return 0;
}
