/*
 * A parser by recursive descent over tokens that are made one at a time. Words
 * that mean something at the head of a command (if, then, ...) are ordinary
 * ones elsewhere, as in a shell.
 */
#include "bootdisk/grub_parse.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

enum token { T_END, T_WORD, T_SEPARATOR, T_OPEN, T_CLOSE };

struct parser {
    const char *p, *end;
    struct arena *arena;
    struct err *err;
    unsigned line, depth;
    enum token token;       /* the one to look at */
    struct grub_word *word; /* T_WORD */
    const char *plain;      /* of the word, if it is one piece without quotes */
    int rc;                 /* the first failure; then token is T_END */
};

static void fail(struct parser *ps, const char *what)
{
    if (ps->rc == 0)
        ps->rc = err_set(ps->err, -EINVAL, "line %u has %s", ps->line, what);
    ps->token = T_END;
}

static void *alloc(struct parser *ps, size_t len)
{
    void *p = ps->rc ? NULL : arena_alloc(ps->arena, len);

    if (!p && ps->rc == 0)
        ps->rc = err_set(ps->err, -ENOMEM, "it is too big");
    if (!p)
        ps->token = T_END;
    return p;
}

/* --- Words ------------------------------------------------------------------
 */

static bool at_end(const struct parser *ps)
{
    return ps->p == ps->end;
}

static void add_piece(struct parser *ps, struct grub_piece ***tail,
                      const char *text, size_t len, bool var, bool quoted)
{
    struct grub_piece *pc = alloc(ps, sizeof(*pc));
    char *copy = pc ? alloc(ps, len + 1) : NULL;

    if (!copy)
        return;
    memcpy(copy, text, len);
    *pc = (struct grub_piece){.var = var, .quoted = quoted, .text = copy};
    **tail = pc;
    *tail = &pc->next;
}

/* How long the name of a variable is that begins at p. */
static size_t name_length(const char *p, const char *end)
{
    size_t n = 0;

    if (p < end && strchr("?@*#", *p) && *p)
        return 1;
    if (p < end && isdigit((unsigned char)*p)) {
        while (p + n < end && isdigit((unsigned char)p[n]))
            n++;
        return n;
    }
    while (p + n < end && (isalnum((unsigned char)p[n]) || p[n] == '_'))
        n++;
    return n;
}

/* Behind the dollar sign. */
static void take_variable(struct parser *ps, struct grub_piece ***tail,
                          bool quoted)
{
    bool braces = !at_end(ps) && *ps->p == '{';
    size_t n;

    ps->p += braces;
    n = name_length(ps->p, ps->end);
    if (n == 0 || (braces && (ps->p + n == ps->end || ps->p[n] != '}'))) {
        fail(ps, "a dollar sign without a name");
        return;
    }
    add_piece(ps, tail, ps->p, n, true, quoted);
    ps->p += n + braces;
}

/* Behind the first quote; nothing in it means anything. */
static void take_single(struct parser *ps, struct grub_piece ***tail)
{
    const char *close = memchr(ps->p, '\'', (size_t)(ps->end - ps->p));

    if (!close) {
        fail(ps, "a quote that does not end");
        return;
    }
    add_piece(ps, tail, ps->p, (size_t)(close - ps->p), false, true);
    for (; ps->p < close; ps->p++)
        ps->line += *ps->p == '\n';
    ps->p++;
}

/* A backslash in double quotes: only before these does it mean something. */
static void take_escape(struct parser *ps, struct grub_piece ***tail)
{
    char c = ps->p + 1 < ps->end ? ps->p[1] : '\0';

    if (c == '\n')
        ps->line++;
    else if (c && strchr("$\"\\", c))
        add_piece(ps, tail, ps->p + 1, 1, false, true);
    else
        add_piece(ps, tail, ps->p, c ? 2 : 1, false, true);
    ps->p += c ? 2 : 1;
}

static void take_double(struct parser *ps, struct grub_piece ***tail)
{
    while (ps->rc == 0) {
        const char *from = ps->p;

        while (!at_end(ps) && !strchr("\"$\\", *ps->p)) {
            ps->line += *ps->p == '\n';
            ps->p++;
        }
        if (ps->p > from)
            add_piece(ps, tail, from, (size_t)(ps->p - from), false, true);
        if (at_end(ps)) {
            fail(ps, "a quote that does not end");
        } else if (*ps->p == '"') {
            ps->p++;
            return;
        } else if (*ps->p == '$') {
            ps->p++;
            take_variable(ps, tail, true);
        } else {
            take_escape(ps, tail);
        }
    }
}

static bool ends_word(char c)
{
    return strchr(" \t\r\n;{}", c) != NULL; /* 0, too: no text has it */
}

/* Text without quotes. Patterns depend on the files that there are. */
static void take_plain(struct parser *ps, struct grub_piece ***tail)
{
    const char *from = ps->p;

    while (!at_end(ps) && !ends_word(*ps->p) && !strchr("'\"$\\", *ps->p)) {
        if (strchr("|&<>", *ps->p)) {
            fail(ps, "an operator that husk does not know");
            return;
        }
        if (strchr("*?", *ps->p)) {
            fail(ps, "a pattern");
            return;
        }
        ps->p++;
    }
    if (ps->p > from)
        add_piece(ps, tail, from, (size_t)(ps->p - from), false, false);
}

static void take_piece(struct parser *ps, struct grub_piece ***tail)
{
    switch (*ps->p) {
    case '\'':
        ps->p++;
        take_single(ps, tail);
        break;
    case '"':
        ps->p++;
        take_double(ps, tail);
        break;
    case '$':
        ps->p++;
        if (!at_end(ps) && *ps->p == '"') /* a text to be translated */
            fail(ps, "a text in the person's language");
        else
            take_variable(ps, tail, false);
        break;
    case '\\':
        ps->p++;
        if (at_end(ps))
            fail(ps, "a backslash at its end");
        else
            add_piece(ps, tail, ps->p, 1, false, true);
        ps->p += ps->rc == 0;
        break;
    default: take_plain(ps, tail);
    }
}

/* A backslash before a newline is nothing, inside of words and between. */
static bool skip_continuation(struct parser *ps)
{
    if (ps->end - ps->p < 2 || ps->p[0] != '\\' || ps->p[1] != '\n')
        return false;
    ps->p += 2;
    ps->line++;
    return true;
}

static void take_word(struct parser *ps)
{
    struct grub_word *w = alloc(ps, sizeof(*w));
    struct grub_piece **tail;

    if (!w)
        return;
    tail = &w->pieces;
    while (ps->rc == 0 && !at_end(ps) && !ends_word(*ps->p))
        if (!skip_continuation(ps))
            take_piece(ps, &tail);
    if (ps->rc)
        return;
    ps->token = T_WORD;
    ps->word = w;
    ps->plain =
        w->pieces && !w->pieces->next && !w->pieces->var && !w->pieces->quoted
            ? w->pieces->text
            : NULL;
}

static void skip_blanks(struct parser *ps)
{
    while (!at_end(ps)) {
        if (strchr(" \t\r", *ps->p) && *ps->p)
            ps->p++;
        else if (!skip_continuation(ps))
            break;
    }
    if (!at_end(ps) && *ps->p == '#')
        while (!at_end(ps) && *ps->p != '\n')
            ps->p++;
}

static void next(struct parser *ps)
{
    ps->plain = NULL;
    if (ps->rc)
        return;
    skip_blanks(ps);
    if (at_end(ps)) {
        ps->token = T_END;
        return;
    }
    switch (*ps->p) {
    case '\n':
    case ';':
        ps->line += *ps->p++ == '\n';
        ps->token = T_SEPARATOR;
        break;
    case '{':
        ps->p++;
        ps->token = T_OPEN;
        break;
    case '}':
        ps->p++;
        ps->token = T_CLOSE;
        break;
    default: take_word(ps);
    }
}

/* --- Commands ---------------------------------------------------------------
 */

static struct grub_node *parse_list(struct parser *ps);

static bool is_plain(const struct parser *ps, const char *word)
{
    return ps->token == T_WORD && ps->plain && strcmp(ps->plain, word) == 0;
}

static void expect(struct parser *ps, const char *word)
{
    if (is_plain(ps, word))
        next(ps);
    else
        fail(ps, "an if that does not end");
}

static struct grub_node *new_node(struct parser *ps, enum grub_node_kind kind)
{
    struct grub_node *n = alloc(ps, sizeof(*n));

    if (n) {
        n->kind = kind;
        n->line = ps->line;
    }
    return n;
}

/* Behind "{". */
static struct grub_node *parse_block(struct parser *ps)
{
    struct grub_node *n = parse_list(ps);

    if (ps->token == T_CLOSE)
        next(ps);
    else
        fail(ps, "a block that does not end");
    return n;
}

static struct grub_node *parse_command(struct parser *ps)
{
    struct grub_node *n = new_node(ps, GRUB_COMMAND);
    struct grub_word **tail;

    if (!n)
        return NULL;
    tail = &n->words;
    while (ps->token == T_WORD || ps->token == T_OPEN) {
        struct grub_word *w = ps->word;

        if (ps->token == T_OPEN) {
            w = alloc(ps, sizeof(*w));
            next(ps);
            if (!w)
                return NULL;
            w->is_block = true;
            w->block = parse_block(ps);
        } else {
            next(ps);
        }
        *tail = w;
        tail = &w->next;
    }
    return n;
}

/* Behind "if" or "elif". */
static struct grub_node *parse_if(struct parser *ps)
{
    struct grub_node *n = new_node(ps, GRUB_IF);

    if (!n)
        return NULL;
    n->cond = parse_list(ps);
    expect(ps, "then");
    n->body = parse_list(ps);
    if (is_plain(ps, "elif")) {
        if (++ps->depth > MAX_DEPTH)
            fail(ps, "blocks that nest too deep");
        next(ps);
        n->other = parse_if(ps);
        ps->depth--;
        return n;
    }
    if (is_plain(ps, "else")) {
        next(ps);
        n->other = parse_list(ps);
    }
    expect(ps, "fi");
    return n;
}

static struct grub_node *parse_function(struct parser *ps)
{
    struct grub_node *n = new_node(ps, GRUB_FUNCTION);

    if (!n)
        return NULL;
    n->name = ps->token == T_WORD ? ps->plain : NULL;
    next(ps);
    while (ps->token == T_SEPARATOR)
        next(ps);
    if (!n->name || ps->token != T_OPEN) {
        fail(ps, "a function without a name or a body");
        return NULL;
    }
    next(ps);
    n->body = parse_block(ps);
    return n;
}

static bool is_loop(const struct parser *ps)
{
    static const char *const words[] = {"for",  "while", "until", "select",
                                        "case", "do",    "done"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (is_plain(ps, words[i]))
            return true;
    return false;
}

static struct grub_node *parse_one(struct parser *ps)
{
    struct grub_node *n;
    bool invert = false;

    while (is_plain(ps, "!")) {
        invert = !invert;
        next(ps);
    }
    if (is_loop(ps)) {
        fail(ps, "a loop");
        return NULL;
    }
    if (is_plain(ps, "if")) {
        next(ps);
        n = parse_if(ps);
    } else if (is_plain(ps, "function")) {
        next(ps);
        n = parse_function(ps);
    } else if (ps->token == T_WORD) {
        n = parse_command(ps);
    } else {
        fail(ps, "a block where no block can be");
        return NULL;
    }
    if (n)
        n->invert = invert;
    return n;
}

static bool ends_list(const struct parser *ps)
{
    return ps->token == T_END || ps->token == T_CLOSE || is_plain(ps, "then") ||
           is_plain(ps, "elif") || is_plain(ps, "else") || is_plain(ps, "fi");
}

static struct grub_node *parse_list(struct parser *ps)
{
    struct grub_node *first = NULL, **tail = &first;

    if (++ps->depth > MAX_DEPTH)
        fail(ps, "blocks that nest too deep");
    while (ps->rc == 0) {
        while (ps->token == T_SEPARATOR)
            next(ps);
        if (ends_list(ps))
            break;
        *tail = parse_one(ps);
        if (!*tail)
            break;
        tail = &(*tail)->next;
    }
    ps->depth--;
    return first;
}

int grub_parse(const char *text, size_t len, struct arena *arena,
               struct grub_node **out, struct err *err)
{
    struct parser ps = {
        .p = text, .end = text + len, .arena = arena, .err = err, .line = 1};
    struct grub_node *n;

    if (memchr(text, '\0', len))
        return err_set(err, -EINVAL, "it is no text");
    next(&ps);
    n = parse_list(&ps);
    if (ps.rc == 0 && ps.token != T_END)
        fail(&ps, "a word that belongs to no if, or a brace too many");
    if (ps.rc == 0)
        *out = n;
    return ps.rc;
}
