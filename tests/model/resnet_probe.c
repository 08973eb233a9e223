/* For tests/reference/resnet.py: features, gradients and running statistics of an image tower whose weights
 * and images stand in an HDF5 file.
 *
 *   resnet_probe MODEL IN.h5 OUT.h5 f32|bf16 eval|train THREADS
 *
 * IN: /weight/NAME f32 for every row "visual.…", /image u8 [n][h][w][3], /dfeatures f32 [n][d]. OUT:
 * /features f32 [n][d], /grad/NAME for every trained row, /running/NAME for every buffer after the call. */
#include "tandem/base.h"
#include "tandem/model.h"

#include <hdf5.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tdm_status read_all(hid_t file, const char *name, hid_t type, int64_t count, void *data)
{
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    TDM_REQUIRE(set >= 0, TDM_E_DATA, "the input has no %s", name);
    const hid_t space = H5Dget_space(set);
    const int64_t have = H5Sget_simple_extent_npoints(space);
    const herr_t error = have == count ? H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) : -1;
    H5Sclose(space);
    H5Dclose(set);
    TDM_REQUIRE(error >= 0, TDM_E_DATA, "%s: %lld values, wanted %lld", name, (long long)have,
                (long long)count);
    return TDM_OK;
}

static tdm_status write_all(hid_t file, const char *group, const char *name, int64_t count, const float *data)
{
    char path[200];
    const hsize_t size = (hsize_t)count;
    snprintf(path, sizeof(path), "%s/%s", group, name);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t space = H5Screate_simple(1, &size, NULL);
    const hid_t set = H5Dcreate2(file, path, H5T_NATIVE_FLOAT, space, links, H5P_DEFAULT, H5P_DEFAULT);
    const herr_t error = set < 0 ? -1 : H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data);
    if (set >= 0) H5Dclose(set);
    H5Sclose(space);
    H5Pclose(links);
    TDM_REQUIRE(error >= 0, TDM_E_IO, "cannot write %s", path);
    return TDM_OK;
}

static int64_t images_in(hid_t file)
{
    hsize_t shape[4] = {0};
    const hid_t set = H5Dopen2(file, "image", H5P_DEFAULT);
    const hid_t space = H5Dget_space(set);
    if (H5Sget_simple_extent_ndims(space) == 4) H5Sget_simple_extent_dims(space, shape, NULL);
    H5Sclose(space);
    H5Dclose(set);
    return (int64_t)shape[0];
}

static bool is_visual(const tdm_param *row)
{
    return strncmp(row->name, "visual.", 7) == 0;
}

static tdm_status probe(char **argv, hid_t in, hid_t out)
{
    tdm_config config;
    tdm_ops *ops;
    tdm_dtype dtype;
    tdm_params params = {0};
    tdm_model *model;
    const int64_t n = images_in(in);
    TDM_TRY(tdm_model_register());
    TDM_TRY(tdm_config_init(&config));
    TDM_TRY(tdm_config_load_model(&config, argv[1]));
    TDM_TRY(tdm_config_check(&config));
    TDM_TRY(tdm_ops_resolve_precision(argv[4], &dtype));
    TDM_TRY(tdm_ops_create(dtype, atoi(argv[6]), &ops));
    TDM_TRY(tdm_model_create(&config, ops, true, n, &params, &model));
    TDM_TRY(tdm_params_allocate(&params, true));
    char path[200];
    for (int64_t i = 0; i < params.count; i++) {
        const tdm_param *row = &params.row[i];
        snprintf(path, sizeof(path), "weight/%s", row->name);
        if (is_visual(row))
            TDM_TRY(read_all(in, path, H5T_NATIVE_FLOAT, row->size, params.weight + row->offset));
    }
    TDM_TRY(tdm_model_load(model));

    const int64_t d = tdm_model_embed_dim(model);
    const int64_t bytes = n * config.model.image.height_px * config.model.image.width_px * 3;
    uint8_t *image;
    float *features, *dfeatures;
    TDM_TRY(TDM_ALLOC(bytes, &image));
    TDM_TRY(TDM_ALLOC(n * d, &features));
    TDM_TRY(TDM_ALLOC(n * d, &dfeatures));
    TDM_TRY(read_all(in, "image", H5T_NATIVE_UINT8, bytes, image));
    TDM_TRY(read_all(in, "dfeatures", H5T_NATIVE_FLOAT, n * d, dfeatures));
    const tdm_tower_input input = {.n = n, .image = image};
    const tdm_pass mode = {.train = !strcmp(argv[5], "train")};
    TDM_TRY(tdm_model_forward(model, TDM_IMAGE, &input, &mode, &(tdm_tower_output){.pooled = features}));
    TDM_TRY(tdm_model_backward(model, TDM_IMAGE, &(tdm_tower_output){.pooled = dfeatures}, NULL, NULL));
    tdm_model_update_statistics(model, true);
    TDM_TRY(write_all(out, "", "features", n * d, features));
    for (int64_t i = 0; i < params.count; i++) {
        const tdm_param *row = &params.row[i];
        if (is_visual(row))
            TDM_TRY(write_all(out, row->buffer ? "/running" : "/grad", row->name, row->size,
                              (row->buffer ? params.weight : params.grad) + row->offset));
    }
    tdm_free(image);
    tdm_free(features);
    tdm_free(dfeatures);
    tdm_model_destroy(&model);
    tdm_params_destroy(&params);
    tdm_ops_destroy(&ops);
    tdm_config_destroy(&config);
    return TDM_OK;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "resnet_probe MODEL IN.h5 OUT.h5 f32|bf16 eval|train THREADS\n");
        return 2;
    }
    const hid_t in = H5Fopen(argv[2], H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t out = H5Fcreate(argv[3], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const tdm_status status = in >= 0 && out >= 0 ? probe(argv, in, out) : TDM_E_IO;
    if (status != TDM_OK) fprintf(stderr, "resnet_probe: %s\n", tdm_error_last()->message);
    H5Fclose(in);
    H5Fclose(out);
    return status == TDM_OK ? 0 : 1;
}
