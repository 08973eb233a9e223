/* What all of Tandem's HDF5 files share: how they are created, opened and given up, and what a failure is
 * called. HDF5 keeps its error stack per thread; nothing of it is ever printed. Not collective. */
#ifndef TANDEM_H5_H
#define TANDEM_H5_H

#include "tandem/base.h"

#include <hdf5.h>

/* Switches HDF5's own printing off for this thread: create and open do; entry points that use a file that is
 * already open call it first. */
void tdm_h5_quiet(void);
/* The innermost reason of the last failure: "No space left on device", "truncated file: eof = …", or
 * "checksum error". Static per thread; right after the failure, since any HDF5 call clears it. */
const char *tdm_h5_reason(void);

/* The caller closes with H5Fclose (which closes all that is open in the file) or tdm_h5_discard. *file is
 * H5I_INVALID_HID on failure. Existing files are overwritten. Errors name the path. */
TDM_CHECKED tdm_status tdm_h5_create(const char *path, hid_t *file);
/* Read-only. TDM_E_IO: missing, not a file; TDM_E_FORMAT: empty, not HDF5, truncated. */
TDM_CHECKED tdm_status tdm_h5_open(const char *path, hid_t *file);
/* Writes out what HDF5 holds back, so that a full disk is met here, where the file can still be discarded,
 * and not in a close. Then closes. On failure the file stays open. */
TDM_CHECKED tdm_status tdm_h5_finish(const char *path, hid_t *file);
/* Closes without a care for the content, also after a failed write; fine on H5I_INVALID_HID. */
void tdm_h5_discard(hid_t *file);

#endif
