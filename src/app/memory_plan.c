#include "memory_plan.h"

static const double MIB = 1 << 20;

/* Mean length of the first captions, rounded up. */
static tdm_status caption_tokens(const tdm_config *config, tdm_dataset *dataset,
                                 const tdm_tokenizer *tokenizer, int64_t *tokens)
{
    enum { SAMPLE = 1000 };
    const int64_t n = tdm_min_i64(SAMPLE, tdm_dataset_captions(dataset));
    tdm_text_batch text;
    *tokens = 1;
    if (tokenizer == NULL) return TDM_OK; /* the text tower reads features */
    TDM_TRY(tdm_load_captions(dataset, tokenizer, 0, n, tdm_caption_tokens(config), &text));
    *tokens = n > 0 ? (text.seq[n] + n - 1) / n : 1;
    tdm_free(text.token);
    tdm_free(text.seq);
    return TDM_OK;
}

/* Images of the batches that the loader holds, and of the features that the losses see. */
static tdm_status batch_bytes(const tdm_config *config, const tdm_model_plan *plan, int64_t *batches,
                              int64_t *features)
{
    const tdm_tower_config *image = &config->model.image;
    tdm_view_set views;
    TDM_TRY(tdm_trainer_views(config, &views));
    const int64_t images = tdm_view_count(views, TDM_IMAGE), texts = tdm_view_count(views, TDM_TEXT);
    *batches = (config->data.prefetch + 1) * plan->batch * images * image->height_px * image->width_px * 3;
    *features = (images + texts) * (int64_t)sizeof(float) * config->model.embed_dim *
                (3 * plan->batch + 2 * tdm_step_draw(config).samples);
    return TDM_OK;
}

/* One way, as if it were configured; `fixed` bytes are needed whatever the way. */
static tdm_status show_way(const tdm_config *config, int ranks, const tdm_model *model,
                           tdm_recompute_choice way, int64_t tokens, double fixed)
{
    char name[64];
    tdm_config other = *config; /* borrows everything */
    tdm_model_plan plan;
    tdm_model_memory memory;
    other.train.recompute = way;
    TDM_TRY(tdm_trainer_plan(&other, ranks, &plan));
    TDM_TRY(tdm_model_memory_estimate(model, &plan, tokens, &memory));
    tdm_log(TDM_LOG_INFO, "  %s recompute = \"%s\": activations %.0f MiB, in all %.1f GiB",
            config->train.recompute == (int)way ? "*" : " ",
            tdm_option_choice_text(TDM_RECOMPUTE_CHOICES, (int)way, name), (double)memory.activations / MIB,
            (fixed + (double)memory.activations) / (1024.0 * MIB));
    return TDM_OK;
}

tdm_status memory_plan_show(const tdm_config *config, int ranks, const tdm_model *model, tdm_dataset *dataset,
                            const tdm_tokenizer *tokenizer)
{
    int64_t tokens, batches, features;
    int moment_count;
    tdm_model_plan plan;
    tdm_model_memory memory;
    TDM_TRY(caption_tokens(config, dataset, tokenizer, &tokens));
    TDM_TRY(tdm_trainer_plan(config, ranks, &plan));
    TDM_TRY(batch_bytes(config, &plan, &batches, &features));
    TDM_TRY(tdm_model_memory_estimate(model, &plan, tokens, &memory));
    TDM_TRY(tdm_optim_moments(config, &moment_count));
    const double moments = (double)(moment_count * memory.gradients) / (config->optim.shard ? ranks : 1);
    const double fixed =
        (double)(memory.weights + memory.gradients + memory.packed + batches + features) + moments;
    tdm_log(TDM_LOG_INFO,
            "memory per rank, MiB: weights %.0f, gradients %.0f, moments %.0f, "
            "packed weights %.0f, batches %.0f, features %.0f; and for %lld pairs "
            "in chunks of %lld, captions of %lld tokens as the first ones have:",
            (double)memory.weights / MIB, (double)memory.gradients / MIB, moments / MIB,
            (double)memory.packed / MIB, (double)batches / MIB, (double)features / MIB, (long long)plan.batch,
            (long long)plan.chunk, (long long)tokens);
    TDM_TRY(show_way(config, ranks, model, TDM_RECOMPUTE_CHOICE_NONE, tokens, fixed));
    if (tdm_model_recomputes(model)) {
        TDM_TRY(show_way(config, ranks, model, TDM_RECOMPUTE_CHOICE_MLP, tokens, fixed));
        TDM_TRY(show_way(config, ranks, model, TDM_RECOMPUTE_CHOICE_BLOCK, tokens, fixed));
    }
    return show_way(config, ranks, model, TDM_RECOMPUTE_CHOICE_CHUNK, tokens, fixed);
}
