#include "cli/verb.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "cli/options.h"
#include "vmm/vmm.h"

const struct verb verbs[NR_VERBS] = {
    {"run", "--kernel FILE [OPTION...]",
     "boot a kernel in a new machine, on this terminal", vmconf_info,
     VMCONF_NR_OPTIONS, cmd_run},
    {"help", "[VERB]", "say what husk can do, or how a verb is used", NULL, 0,
     cmd_help},
    {"completion", "bash|zsh|fish", "print completions for a shell", NULL, 0,
     cmd_completion},
    {"version", "", "print the version", NULL, 0, cmd_version},
};

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < NR_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

void say_error(const char *text)
{
    (void)fprintf(stderr, "husk: %s\n", text);
}

int say_no_verb(const char *name)
{
    (void)fprintf(
        stderr, "husk: there is no verb '%s': 'husk help' lists them\n", name);
    return VMM_EXIT_USAGE;
}

bool verb_refuses(const struct verb *v, char **argv, int max_words, int *status)
{
    struct options o = {.verb = v->name, .argv = (const char *const *)argv + 1};
    struct err err = {0};
    const char *word = NULL;
    int rc;

    while ((rc = options_next(&o, &word, &err)) != OPTIONS_END) {
        if (rc == OPTIONS_HELP) {
            help_verb(stdout, v);
            *status = VMM_EXIT_OK;
            return true;
        }
        if (rc == OPTIONS_WORD && max_words-- > 0)
            continue;
        if (rc == OPTIONS_WORD)
            (void)err_set(&err, -EINVAL, "%s: '%s' is one word too many",
                          v->name, word);
        say_error(err.text);
        *status = VMM_EXIT_USAGE;
        return true;
    }
    return false;
}
