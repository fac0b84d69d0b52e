#include "state/format.h"

#include "base/compiler.h"
#include "base/crc32.h"
#include "state/desc.h"

unsigned state_type_size(unsigned type)
{
    static const uint8_t size[] = {
        [STATE_U8] = 1,  [STATE_U16] = 2,   [STATE_U32] = 4,
        [STATE_U64] = 8, [STATE_BYTES] = 1, [STATE_BOOL] = 1,
    };

    return type < ARRAY_LEN(size) ? size[type] : 0;
}

uint32_t state_section_crc(const uint8_t *section, size_t len)
{
    uint32_t crc = crc32_update(0, section, STATE_SEC_CRC);

    return crc32_update(crc, section + STATE_SEC_SIZE, len - STATE_SEC_SIZE);
}

_Static_assert(sizeof(_Bool) == 1, "STATE_BOOL is one byte");
