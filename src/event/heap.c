#include "event/heap.h"

#include <stddef.h>

/*
 * A node's children form a list through next; the first one's prev is the
 * parent, the others' their left neighbour. The root has neither.
 */

/* Join two trees; either may be NULL. Both roots have no neighbours. */
static struct timer *meld(struct timer *a, struct timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (b->deadline_ns < a->deadline_ns) {
        struct timer *t = a;

        a = b;
        b = t;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    return a;
}

static struct timer *detach(struct timer *t)
{
    t->prev = NULL;
    t->next = NULL;
    return t;
}

/*
 * Make one tree of a list of siblings: pairs from left to right, then the
 * pairs from right to left. The second pass finds them through a stack that
 * is linked by next.
 */
static struct timer *meld_list(struct timer *first)
{
    struct timer *pairs = NULL;
    struct timer *root = NULL;

    while (first) {
        struct timer *a = first;
        struct timer *b = a->next;

        first = b ? b->next : NULL;
        (void)detach(a);
        if (b)
            a = meld(a, detach(b));
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct timer *t = pairs;

        pairs = t->next;
        root = meld(root, detach(t));
    }
    return root;
}

struct timer *heap_insert(struct timer *root, struct timer *t)
{
    t->child = NULL;
    return meld(root, detach(t));
}

struct timer *heap_remove(struct timer *root, struct timer *t)
{
    struct timer *rest = meld_list(t->child);

    t->child = NULL;
    if (t == root)
        return rest;
    if (t->prev->child == t)
        t->prev->child = t->next;
    else
        t->prev->next = t->next;
    if (t->next)
        t->next->prev = t->prev;
    (void)detach(t);
    return meld(root, rest);
}
