/* Private to data_prep: matrices of features in HDF5 files, as tdm_pack_features. One matrix may be cut into
 * several files, one behind the other. */
#ifndef TANDEM_READ_MATRIX_H
#define TANDEM_READ_MATRIX_H

#include "pack_impl.h"

/* An empty matrix; destroy it with its own function, or hand it to a list. */
TDM_CHECKED tdm_status matrix_create(tdm_pack_features **matrix);
/* Appends the rows of the two-dimensional data set `name` of the HDF5 file `path`: floats, or whole numbers of
 * 16 bits that are the upper halves of floats (bf16). Errors name the file and the data set; another width
 * than that of the rows before is one. */
TDM_CHECKED tdm_status matrix_append(tdm_pack_features *matrix, const char *path, const char *name,
                                     bool bf16);

#endif
