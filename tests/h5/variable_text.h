/* What no Tandem file holds and every reader refuses: a string attribute of variable length. */
#ifndef TESTS_H5_VARIABLE_TEXT_H
#define TESTS_H5_VARIABLE_TEXT_H

#include <hdf5.h>

/* Replaces the attribute of the root, or adds it; false when HDF5 refuses. */
static inline bool put_variable_text(const char *path, const char *name, const char *value)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    if (file < 0) return false;
    if (H5Aexists(file, name) > 0) H5Adelete(file, name);
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, H5T_VARIABLE);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool written = attribute >= 0 && H5Awrite(attribute, type, &value) >= 0;
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    return H5Fclose(file) >= 0 && written;
}

#endif
