#ifndef HUSK_CLI_VERB_H
#define HUSK_CLI_VERB_H

/* What husk can be told to do: one file cmd_<verb>.c each. */
struct verb {
    const char *name;
    const char *summary; /* for the list of verbs */
    /* argv[0] is the verb. Returns the exit status. */
    int (*run)(int argc, char **argv);
};

int cmd_run(int argc, char **argv);

/* "husk: <sentence>" on standard error. */
void say_error(const char *text);

#endif
