#ifndef HUSK_TESTS_UNIT_GDB_DEBUGGER_H
#define HUSK_TESTS_UNIT_GDB_DEBUGGER_H

#include <stdatomic.h>
#include <stdlib.h>

#include "gdb/session.h"
#include "tests/unit/cpu/fake_engine.h"
#include "tests/unit/test.h"

/*
 * A debugger that speaks in strings, attached to a running machine of three
 * CPUs over the fake engine.
 */
enum { DEBUGGER_CPUS = 3, DEBUGGER_OUT = 16384 };

struct debugger {
    struct gmem gm;
    struct vcpu_set *set;
    struct gdb_session s;
    _Atomic unsigned stops;
    unsigned kills;
    char out[DEBUGGER_OUT]; /* all that was said since the last question */
    size_t len;
};

/* cmocka's setup and teardown; *state is a struct debugger. */
int debugger_setup(void **state);
int debugger_teardown(void **state);

/* Send a packet; the reply's contents, without frame and acknowledgement, or
 * "(none)". */
const char *ask(struct debugger *f, const char *packet);

/* What came by itself since the last question. */
const char *said(struct debugger *f);

/* Wait until a vCPU stops, and let the session know. */
void wait_for_stop(struct debugger *f);

struct fake_vcpu *fv(struct debugger *f, unsigned i);

#define DEBUGGER_TEST(name)                                                    \
    cmocka_unit_test_setup_teardown(name, debugger_setup, debugger_teardown)

#endif
