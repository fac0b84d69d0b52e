#ifndef HUSK_TESTS_POWERCUT_RECORD_H
#define HUSK_TESTS_POWERCUT_RECORD_H

#include "trace.h"

/*
 * Run argv in the folder dir and record what it does to the files there.
 * Returns its exit status (128 + signal), or -1 with a sentence on stderr if
 * nothing could be recorded here.
 *
 * record_fuse is a file system over the folder: it sees everything, whatever
 * thread or child did it, mappings and io_uring too, and needs /dev/fuse.
 * record_ptrace follows system calls: it works without any right, wherever
 * debuggers do, and refuses what it could not see (io_uring, shared writable
 * mappings). Both record a call once it is done, in one order for all threads.
 */
int record_fuse(struct trace_writer *w, const char *dir, char **argv);
int record_ptrace(struct trace_writer *w, const char *dir, char **argv);

#endif
