#include "cli/status.h"

#include <errno.h>

const struct status_info status_info[STATUS_NR] = {
    [STATUS_OK] = {"ok", "done"},
    [STATUS_FAILED] = {"failed", "the host, or another program, failed"},
    [STATUS_USAGE] = {"usage", "bad usage or bad input: nothing was done"},
    [STATUS_NOT_FOUND] = {"not_found", "no such VM, snapshot or file"},
    [STATUS_STATE] = {"wrong_state",
                      "it exists already, or its state forbids it"},
    [STATUS_BUSY] = {"locked", "another process uses the VM"},
    [STATUS_TIMEOUT] = {"timeout", "it took too long"},
    [STATUS_PERMISSION] = {"permission", "no permission"},
    [STATUS_DAMAGED] = {"damaged", "the file is damaged, or no image"},
    [STATUS_NO_ENGINE] = {"no_engine", "the engine cannot run here"},
    [STATUS_NO_SPACE] = {"no_space", "there is no space left"},
};

enum status status_of(int rc)
{
    switch (-rc) {
    case 0: return STATUS_OK;
    case EINVAL:
    case E2BIG:
    case EFBIG:
    case ENAMETOOLONG:
    case ENOTSUP: return STATUS_USAGE;
    case ENOENT: return STATUS_NOT_FOUND;
    case EEXIST:
    case ENODEV:
    case ENOTEMPTY:
    case EXDEV: return STATUS_STATE;
    case EBUSY: return STATUS_BUSY;
    case ETIMEDOUT: return STATUS_TIMEOUT;
    case EACCES:
    case EPERM:
    case EROFS: return STATUS_PERMISSION;
    case EUCLEAN:
    case EMEDIUMTYPE:
    case ELOOP: return STATUS_DAMAGED;
    case ENOSPC:
    case EDQUOT: return STATUS_NO_SPACE;
    default: return STATUS_FAILED;
    }
}
