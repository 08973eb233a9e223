/* How close two texts are under a checkpoint:  ./embed RUN "a dog" "a puppy"
 *
 *     cc embed.c $(pkg-config --cflags --libs tandem) -o embed
 */
#include <tandem/tandem.h>

static tdm_status compare(tdm_comm *comm, tdm_inference *clip, char **arg)
{
    const tdm_inference_options options = {.model = arg[0], .precision = "", .batch = 1};
    /* a checkpoint holds the keys of its towers, objectives and so on */
    TDM_TRY(tdm_register_options());
    TDM_TRY(tdm_inference_open(comm, &options, clip));
    const int64_t d = clip->config.model.embed_dim;
    float a[d], b[d]; /* unit norm */
    TDM_TRY(tdm_inference_embed_text(clip, arg[1], a, NULL));
    TDM_TRY(tdm_inference_embed_text(clip, arg[2], b, NULL));
    double cosine = 0;
    for (int64_t k = 0; k < d; k++) cosine += (double)a[k] * (double)b[k];
    printf("%.6f\n", cosine);
    return TDM_OK;
}

int main(int argc, char **argv)
{
    tdm_comm *comm = NULL;
    tdm_inference clip = {0};
    tdm_status status = argc == 4 ? tdm_comm_create_alone(&comm) : TDM_E_USAGE;
    if (status == TDM_OK) status = compare(comm, &clip, argv + 1);
    if (status != TDM_OK)
        fprintf(stderr, "embed: %s\n", argc == 4 ? tdm_error_last()->message : "RUN TEXT TEXT");
    tdm_inference_close(&clip);
    tdm_comm_destroy(&comm);
    return status != TDM_OK;
}
