#ifndef HUSK_TESTS_HOSTILE_SETTINGS_H
#define HUSK_TESTS_HOSTILE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Damage to the settings in a VM file (docs/vm-file.md): its header extension,
 * the slots in it, and the text, which is then right in all but what it says.
 */
unsigned settings_cases(void);
/*
 * d is the beginning of a VM file, with its header extension in it. False: it
 * has none. name (100 bytes) is what the case is called; *must_fail: who needs
 * the settings must refuse it.
 */
bool settings_damage(uint8_t *d, uint64_t len, unsigned i, char *name,
                     bool *must_fail);

#endif
