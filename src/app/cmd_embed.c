/* tandem embed: the embeddings of a split as HDF5 files, one per rank. */
#include "inference_flags.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct embed_options {
    tdm_inference_options inference;
    const char *data, *split, *out, *dtype;
    bool steal_lock;
} embed_options;

static tdm_status describe(const tdm_inference *inference, const embed_options *options, bool by_rank_0,
                           tdm_embedding_info *info)
{
    char absolute[PATH_MAX];
    TDM_TRY(tdm_path_join(absolute, sizeof absolute, options->out, "dataset.h5"));
    TDM_REQUIRE(
        !tdm_path_exists(absolute), TDM_E_USAGE,
        "tandem embed: --out %s holds a packed data set, whose shards have the names of embedding files",
        options->out);
    TDM_REQUIRE(realpath(options->data, absolute) != NULL, TDM_E_IO, "%s: cannot resolve the path",
                options->data);
    TDM_REQUIRE(strlen(absolute) < sizeof info->source, TDM_E_IO, "%.200s…: path is too long", absolute);
    snprintf(info->source, sizeof info->source, "%s", absolute);
    snprintf(info->split, sizeof info->split, "%s", options->split);
    snprintf(info->model, sizeof info->model, "%.1023s", inference->dir);
    TDM_TRY(tdm_inference_seal(inference, info->model_seal));
    return by_rank_0 ? tdm_inference_digest(inference, info->model_digest)
                     : TDM_OK; /* reads the whole model */
}

static tdm_status embed(tdm_comm *comm, const embed_options *options, tdm_inference *inference,
                        tdm_dataset **dataset, tdm_embeddings *embeddings, tdm_dir_lock **lock)
{
    tdm_embedding_info info = {0};
    TDM_TRY(tdm_inference_open(comm, &options->inference, inference));
    TDM_TRY(tdm_inference_open_data(comm, inference, options->data, options->split, dataset));
    TDM_AGREE(comm, describe(inference, options, tdm_comm_rank(comm) == 0, &info));
    tdm_comm_broadcast(comm, info.model_digest, sizeof info.model_digest, 0);
    /* one directory takes several splits, also at the same time */
    const tdm_dir_lock_options own = {
        .dir = options->out, .part = options->split, .command = "embed", .steal = options->steal_lock};
    TDM_TRY(tdm_dir_lock_take(comm, &own, lock));
    TDM_TRY(inference_show(comm, inference));
    TDM_TRY(tdm_inference_prepare(comm, inference, *dataset, true));
    const double begin_s = tdm_now_s();
    TDM_AGREE(comm, tdm_inference_embed_data(comm, inference, *dataset, true, embeddings));
    const double took_s = tdm_now_s() - begin_s;
    const tdm_dtype dtype = strcmp(options->dtype, "bf16") == 0 ? TDM_BF16 : TDM_F32;
    TDM_TRY(tdm_embeddings_write(comm, options->out, &info, dtype, embeddings));
    tdm_log(TDM_LOG_INFO, "%lld images and %lld captions of %s, split %s, embedded in %.1f s: %s",
            (long long)(tdm_dataset_images(*dataset) - tdm_dataset_imageless(*dataset)),
            (long long)tdm_dataset_captions(*dataset), options->data, options->split, took_s, options->out);
    return TDM_OK;
}

static tdm_status embed_run(tdm_comm *comm, int argc, char **argv)
{
    embed_options options = {
        .inference = INFERENCE_DEFAULTS, .data = "", .split = "", .out = "", .dtype = "f32"};
    const tdm_flag flags[] = {
        FLAG_STRING("--data", &options.data, "DIR", NULL, "packed data directory"),
        FLAG_STRING("--split", &options.split, "NAME", NULL, "its split"),
        FLAG_STRING("--out", &options.out, "DIR", NULL,
                    "where SPLIT-00000.h5 … are written, one file per rank"),
        FLAG_STRING("--dtype", &options.dtype, "f32|bf16", "f32", "of the stored rows"),
        FLAG_STEAL_LOCK(&options.steal_lock),
        INFERENCE_FLAGS(options.inference),
    };
    bool help = false;
    TDM_TRY(tdm_parse_options("embed", "--model CKPT --data DIR --split NAME --out DIR", flags,
                              sizeof flags / sizeof flags[0], argc, argv, &help));
    if (help) return TDM_OK;
    tdm_inference inference = {0};
    tdm_dataset *dataset = NULL;
    tdm_embeddings embeddings = {0};
    tdm_dir_lock *lock = NULL;
    const tdm_status status = embed(comm, &options, &inference, &dataset, &embeddings, &lock);
    tdm_dir_lock_release(&lock);
    tdm_embeddings_free(&embeddings);
    tdm_dataset_close(&dataset);
    tdm_inference_close(&inference);
    return status;
}

const tdm_command tdm_command_embed = {.name = "embed",
                                       .summary = "embeddings of a split as HDF5 files",
                                       .mpi = true,
                                       .stops = true,
                                       .run = embed_run};
