#ifndef HUSK_TESTS_UNIT_DEVICES_PCI_SAVED_H
#define HUSK_TESTS_UNIT_DEVICES_PCI_SAVED_H

#include "state/desc.h"

/* Assert that all of a state struct but padding (less than 8 bytes) goes
 * through saving and loading unchanged. */
void assert_saved_whole(const struct state_desc *desc);

#endif
