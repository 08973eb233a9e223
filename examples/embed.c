/* How close two texts are under a checkpoint:  embed RUN "a dog" "a puppy"
 *
 *     cc embed.c $(pkg-config --cflags --libs tandem) -o embed
 */
#include <tandem/tandem.h>

static tdm_status compare(const char *run, char *const text[2], double *cosine)
{
    tdm_config config;
    tdm_tokenizer *tokenizer = NULL;
    tdm_ops *ops = NULL;
    tdm_params params = {0};
    tdm_model *model = NULL;
    char checkpoint[TDM_PATH_BYTES];
    TDM_TRY(tdm_loss_register()); /* their options stand in a checkpoint's configuration */
    TDM_TRY(tdm_checkpoint_find(run, true, checkpoint, sizeof checkpoint));
    TDM_TRY(tdm_config_init(&config));
    TDM_TRY(tdm_checkpoint_read_config(checkpoint, &config, &tokenizer, NULL));
    TDM_TRY(tdm_ops_create(TDM_F32, 1, &ops));
    TDM_TRY(tdm_model_create(&config, ops, false, 2, &params, &model));
    TDM_TRY(tdm_params_allocate(&params, false));
    TDM_TRY(tdm_checkpoint_read_model(checkpoint, &params));
    TDM_TRY(tdm_model_load(model));

    const int64_t context = config.model.text.context_length, d = tdm_model_embed_dim(model);
    int32_t *token; /* of both texts, one after the other */
    float *feature, *unit, norm[2];
    int64_t seq[3] = {0}, count;
    TDM_TRY(TDM_ALLOC(2 * context, &token));
    TDM_TRY(TDM_ALLOC(2 * d, &feature));
    TDM_TRY(TDM_ALLOC(2 * d, &unit));
    for (int i = 0; i < 2; i++) {
        TDM_TRY(tdm_tokenizer_encode(tokenizer, text[i], context, token + seq[i], &count, NULL));
        seq[i + 1] = seq[i] + count;
    }
    const tdm_tower_input input = {.n = 2, .token = token, .seq = seq};
    TDM_TRY(tdm_model_embed(model, TDM_TEXT, &input, &(tdm_pass){0}, feature));
    tdm_l2norm_forward(ops, 2, d, feature, unit, norm);
    *cosine = 0;
    for (int64_t k = 0; k < d; k++) *cosine += (double)unit[k] * (double)unit[d + k];
    return TDM_OK; /* the process ends: what it holds needs no freeing here */
}

int main(int argc, char **argv)
{
    double cosine;
    if (argc != 4) return fprintf(stderr, "usage: embed RUN TEXT TEXT\n"), 2;
    if (compare(argv[1], argv + 2, &cosine) != TDM_OK)
        return fprintf(stderr, "embed: %s\n", tdm_error_last()->message), 1;
    printf("%.6f\n", cosine);
    return 0;
}
