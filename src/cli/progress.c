#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR = 40, LINE_STEP = 10 };

#define PATIENCE_NS (NS_PER_SEC / 2)

void progress_begin(struct progress *p, const struct args *a, const char *what)
{
    *p = (struct progress){.what = what, .begun_ns = clock_now_ns()};
    p->on = a->progress && !a->quiet && !args_json(a);
    p->bar = isatty(STDERR_FILENO);
}

static void draw(const struct progress *p, unsigned percent)
{
    char bar[BAR + 1];

    for (unsigned i = 0; i < BAR; i++)
        bar[i] = i < percent * BAR / 100 ? '#' : '.';
    bar[BAR] = '\0';
    if (p->bar)
        (void)fprintf(stderr, "\r%s [%s] %3u%%", p->what, bar, percent);
    else
        (void)fprintf(stderr, "%s: %u%%\n", p->what, percent);
}

void progress_at(struct progress *p, uint64_t done, uint64_t total)
{
    unsigned percent;

    if (!p->on || !total || clock_now_ns() - p->begun_ns < PATIENCE_NS)
        return;
    done = done < total ? done : total;
    percent = (unsigned)((double)done * 100.0 / (double)total);
    if (!p->bar)
        percent -= percent % LINE_STEP;
    if (percent == p->last && p->shown)
        return;
    draw(p, percent);
    p->last = percent;
    p->shown = true;
}

void progress_end(struct progress *p)
{
    if (p->shown && p->last < 100)
        draw(p, 100);
    if (p->shown && p->bar)
        (void)fputc('\n', stderr);
}

bool progress_step(void *arg, uint64_t done, uint64_t total)
{
    progress_at(arg, done, total);
    return true;
}
