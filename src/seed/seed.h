#ifndef HUSK_SEED_SEED_H
#define HUSK_SEED_SEED_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * What a new system learns of itself when it starts first, as cloud-init's
 * NoCloud source reads it: a CD called "cidata" with the files meta-data,
 * user-data and vendor-data. What a person wrote is the user-data, as it is;
 * what husk says (a user, keys, a password) is vendor-data, over which it goes,
 * and the name and the keys are meta-data, which hold in any case. JSON is YAML
 * too, so that these are written as JSON.
 */
enum { SEED_MAX_USER_DATA = 16384, SEED_MAX_KEYS = 8192 };

struct seed {
    const char *instance; /* another one, and all is done again */
    const char *hostname;
    const char *user;      /* NULL: the image's own */
    const char *password;  /* as crypt(5) has it; NULL: none */
    const char *keys;      /* lines of authorized_keys; NULL: none */
    const char *user_data; /* NULL: none */
};

/* Each: -EINVAL with err. The first for what no cloud-init would take. */
MUST_CHECK int seed_check_user_data(const char *text, size_t len,
                                    struct err *err);
MUST_CHECK int seed_check_keys(const char *lines, struct err *err);
MUST_CHECK int seed_check_password(const char *hash, struct err *err);
/* A name in lower case as useradd(8) takes it. */
MUST_CHECK int seed_check_user(const char *name, struct err *err);

/* The CD; caller frees *image. All is checked again. */
MUST_CHECK int seed_make(const struct seed *s, uint8_t **image, size_t *len,
                         struct err *err);

#endif
