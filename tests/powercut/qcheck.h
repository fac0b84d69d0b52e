#ifndef HUSK_TESTS_POWERCUT_QCHECK_H
#define HUSK_TESTS_POWERCUT_QCHECK_H

#include "qimg.h"

/*
 * Whether the tables of an image agree: each cluster has one owner (or several
 * snapshots that see it at the same place), its reference count is the number
 * of references, nothing points out of the file.
 */
struct qreport {
    /* Anything but the two below: data is lost or could be. */
    unsigned corruptions;
    /* The count is higher than the references. */
    unsigned leaks;
    /* The "refcount is one" bit is not set where it could be: a reader sees
     * nothing of it, a writer copies without need. QEMU calls it an error. */
    unsigned not_copied;
    /* It is set where it must not be, but nobody else refers to the cluster,
     * or the dirty bit says that whoever opens the image looks first. */
    unsigned false_copied;
    char first[160]; /* the first corruption, else the first of the others */
};

/* Memory that is used again from check to check; zeroed at first. */
struct qcheck {
    const struct qimg *q;
    struct qreport *rep;
    uint64_t nr, room; /* clusters of the file */
    struct qowner *owners;
};

/* q has been opened. Returns the number of corruptions. */
unsigned qcheck_run(struct qcheck *c, const struct qimg *q,
                    struct qreport *rep);
/* The head, too. */
unsigned qcheck_image(struct qcheck *c, struct qimg *q, const void *data,
                      uint64_t size, struct qreport *rep);
void qcheck_free(struct qcheck *c);

#endif
