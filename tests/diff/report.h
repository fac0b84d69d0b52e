#ifndef HUSK_DIFF_REPORT_H
#define HUSK_DIFF_REPORT_H

#include "case.h"

/* Bytes and text of a case's instructions. */
void report_code(const struct diff_case *c);
/* Everything a case starts from. */
void report_input(const struct diff_case *c);
/* The fields (compare.h) in which two results differ, value by value. */
void report_difference(const struct diff_case *c, unsigned fields,
                       const struct diff_result *native,
                       const struct diff_result *engine);

#endif
