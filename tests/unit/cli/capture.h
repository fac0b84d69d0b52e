#ifndef HUSK_TESTS_UNIT_CLI_CAPTURE_H
#define HUSK_TESTS_UNIT_CLI_CAPTURE_H

/* What is written to a descriptor (1 or 2) between these two; of one at a
 * time. The text is free()d by the caller. */
void capture_begin(int fd);
char *capture_end(void);

#endif
