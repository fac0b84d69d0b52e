#include "cli/man.h"

#include <ctype.h>
#include <string.h>

#include "cli/status.h"

/* Text that roff does not take for anything else. */
static void put(FILE *to, const char *text)
{
    bool start = true;

    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            (void)fputs("\\&", to);
        /* A sentence begins on a line of its own. */
        if (*text == ' ' && text[-1] == '.' && !start)
            (void)fputc('\n', to);
        else if (*text == '\\')
            (void)fputs("\\e", to);
        else if (*text == '-')
            (void)fputs("\\-", to);
        else
            (void)fputc(*text, to);
        start = *text == '\n';
    }
}

static void put_option(FILE *to, const struct vmconf_info *o)
{
    (void)fputs(".It ", to);
    if (o->letter)
        (void)fprintf(to, "Fl %c , ", o->letter);
    (void)fprintf(to, "Fl -%s%s%s\n", o->name, o->arg ? " Ar " : "",
                  o->arg ? o->arg : "");
    put(to, o->help);
    (void)fputs(".\n", to);
}

static void put_options(FILE *to, const struct verb *v)
{
    static const struct vmconf_info help = {"help", 'h', NULL,
                                            "print a list of these"};

    (void)fputs(".Pp\nThe options are:\n.Bl -tag -width Ds\n", to);
    for (int i = 0; i < v->nr_options; i++)
        put_option(to, &v->options[i]);
    for (int g = 0; g < VERB_NR_GLOBALS; g++)
        if (verb_has_global(v, g)) {
            struct vmconf_info o = verb_global(v, g);

            put_option(to, &o);
        }
    put_option(to, &help);
    (void)fputs(".El\n", to);
}

static void put_words(FILE *to, const struct verb *v)
{
    (void)fprintf(to, ".Nm husk\n.Cm %s\n", v->name);
    if (v->nr_options && !strstr(v->words, "OPTION"))
        (void)fputs(".Op Ar OPTION ...\n", to);
    for (const char *w = v->words; *w;) {
        size_t n = strcspn(w, " ");
        bool optional = *w == '[';

        (void)fprintf(to, optional ? ".Op Ar %.*s\n" : ".Ar %.*s\n",
                      (int)(optional ? n - 2 : n), w + optional);
        w += n + (w[n] == ' ');
    }
}

void man_verb(FILE *to, const struct verb *v)
{
    (void)fputs(".Dd November 23, 2026\n.Dt HUSK-", to);
    for (const char *p = v->name; *p; p++)
        (void)fputc(toupper((unsigned char)*p), to);
    (void)fprintf(to, " 1\n.Os\n.Sh NAME\n.Nm husk-%s\n.Nd %s\n.Sh SYNOPSIS\n",
                  v->name, v->summary);
    put_words(to, v);
    (void)fprintf(to, ".Sh DESCRIPTION\n%c%s.\n",
                  toupper((unsigned char)v->summary[0]), v->summary + 1);
    put(to, v->notes);
    if (*v->notes)
        (void)fputc('\n', to);
    if (*v->alias)
        (void)fprintf(to, ".Pp\nOther names for it: %s.\n", v->alias);
    put_options(to, v);
    if (v->globals) {
        (void)fputs(".Sh EXIT STATUS\n.Bl -tag -width 10n -compact\n", to);
        for (int i = 0; i < STATUS_NR; i++)
            (void)fprintf(to, ".It %d\n%s\n", i, status_info[i].when);
        (void)fputs(".El\n", to);
    }
    (void)fputs(".Sh SEE ALSO\n.Xr husk 1\n", to);
}
