#include "record.h"

#include <stdlib.h>
#include <string.h>

/* record [--fuse|--ptrace] TRACE FOLDER COMMAND...: see record.h. */

static int usage(void)
{
    (void)fprintf(stderr, "usage: record [--fuse|--ptrace] TRACE FOLDER "
                          "COMMAND...\n"
                          "Runs COMMAND in FOLDER and records what it does to "
                          "the files there in TRACE.\n"
                          "The status is COMMAND's; 77: nothing can be "
                          "recorded here\n");
    return 2;
}

int main(int argc, char **argv)
{
    bool ptrace_only = argc > 1 && !strcmp(argv[1], "--ptrace");
    bool fuse_only = argc > 1 && !strcmp(argv[1], "--fuse");
    struct trace_writer w;
    int status = -1;

    argv += ptrace_only || fuse_only;
    argc -= ptrace_only || fuse_only;
    if (argc < 4)
        return usage();
    if (trace_create(&w, argv[1])) {
        perror(argv[1]);
        return 1;
    }
#ifdef HAVE_FUSE
    if (!ptrace_only)
        status = record_fuse(&w, argv[2], argv + 3);
#endif
    if (status < 0 && !fuse_only)
        status = record_ptrace(&w, argv[2], argv + 3);
    if (trace_close(&w)) {
        perror(argv[1]);
        return 1;
    }
    return status < 0 ? 77 : status;
}
