#ifndef HUSK_TESTS_UNIT_TEST_H
#define HUSK_TESTS_UNIT_TEST_H

/* cmocka, with what it needs before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
