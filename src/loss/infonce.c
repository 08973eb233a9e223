/* Symmetric InfoNCE over the global batch (CLIP, Radford et al. 2021, figure 3), with the soft targets of
 * TBPS-CLIP's N-ITC (arXiv 2308.10045, section 3.2.1) when several rows share an identity:
 *
 *     p_ij = softmax_j(s · v_i·t_j),  q_ij = [id_i = id_j] / |{k : id_k = id_i}|,  s = exp(logit_scale)
 *     L = -1/(2B) sum_i sum_j q_ij log p_ij   (image to text)   + the same with v and t exchanged
 *
 * A rank computes rows [row0, row0+b) of both B×B matrices, in blocks, so that memory stays bounded. */
#include "tandem/loss.h"

#include "tandem/base.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef struct infonce_options {
    double weight;
    const char *soft_targets;
    const char *image_view;
} infonce_options;

static const tdm_option infonce_rows[] = {
    {"weight", TDM_OPTION_FLOAT, offsetof(infonce_options, weight), "1.0", 0.0, 1e6, NULL, "",
     "multiplies the loss; 0 switches it off", NULL},
    {"soft_targets", TDM_OPTION_STRING, offsetof(infonce_options, soft_targets), "identity", 0, 0,
     "none|identity", "",
     "identity: rows of one identity are each other's positives, sharing the target evenly; none: only the "
     "pair itself",
     NULL},
    {"image_view", TDM_OPTION_STRING, offsetof(infonce_options, image_view), "aug_1", 0, 0, "plain|aug_1", "",
     "which view of the image is compared with the caption", NULL},
};

static int image_view(const infonce_options *o)
{
    return strcmp(o->image_view, "plain") ? TDM_VIEW_IMAGE_AUG_1 : TDM_VIEW_IMAGE_PLAIN;
}

static tdm_view_set infonce_views(const void *options)
{
    return 1u << image_view(options) | 1u << TDM_VIEW_TEXT_PLAIN;
}

static void fill_targets(const tdm_loss_input *in, bool soft, int64_t first, int64_t n, float *target)
{
    memset(target, 0, sizeof(float) * (size_t)(n * in->B));
    for (int64_t i = 0; i < n; i++) {
        float *row = target + i * in->B;
        if (!soft) {
            row[first + i] = 1.0f;
            continue;
        }
        const int64_t id = in->identity[first + i];
        int64_t same = 0;
        for (int64_t j = 0; j < in->B; j++) same += in->identity[j] == id;
        const float share = 1.0f / (float)same;
        for (int64_t j = 0; j < in->B; j++)
            if (in->identity[j] == id) row[j] = share;
    }
}

typedef struct direction {
    const float *query, *answer; /* [B][d] */
    float *dquery, *danswer;     /* [B][d], added to */
} direction;

/* Temporaries of `block` rows. */
typedef struct room {
    int64_t block;
    float *logits, *target; /* [block][B] */
    float *row_loss, *drow; /* [block], [block][d] */
} room;

static tdm_status room_take(const tdm_loss_input *in, tdm_scratch *scratch, room *r)
{
    enum { BLOCK_ELEMENTS = 1 << 22 }; /* 16 MiB of logits at once */
    r->block = tdm_min_i64(in->b, tdm_max_i64(1, BLOCK_ELEMENTS / in->B));
    const size_t rows = sizeof(float) * (size_t)r->block;
    TDM_TRY(tdm_scratch_take(scratch, rows * (size_t)in->B, (void **)&r->logits));
    TDM_TRY(tdm_scratch_take(scratch, rows * (size_t)in->B, (void **)&r->target));
    TDM_TRY(tdm_scratch_take(scratch, rows, (void **)&r->row_loss));
    return tdm_scratch_take(scratch, rows * (size_t)in->d, (void **)&r->drow);
}

static int64_t infonce_scratch_bytes(const void *options, const tdm_loss_input *in)
{
    (void)options;
    room r;
    tdm_scratch count = {.capacity_bytes = SIZE_MAX};
    return room_take(in, &count, &r) == TDM_OK ? (int64_t)count.used_bytes : 0;
}

/* Rows [first, first+n) of one direction, with their targets in r. */
static tdm_status infonce_block(tdm_ops *ops, const tdm_loss_input *in, const direction *dir, int64_t first,
                                int64_t n, float scale, float dscale, const room *r, double *loss,
                                double *dlogit_scale)
{
    const int64_t d = in->d, B = in->B;
    const float *query = dir->query + first * d;
    TDM_TRY(tdm_gemm(ops, false, true, n, B, d, scale, query, d, dir->answer, d, 0.0f, r->logits, B));
    tdm_softmax_cross_entropy(ops, n, B, r->logits, r->target, r->row_loss); /* logits are now p - q */
    for (int64_t i = 0; i < n; i++) *loss += r->row_loss[i];

    /* dL/d(query row) = s·(p - q)·answer;  dL/d(logit_scale) = sum (p - q)·logit = sum query·dquery */
    TDM_TRY(tdm_gemm(ops, false, false, n, d, B, scale, r->logits, B, dir->answer, d, 0.0f, r->drow, d));
    float *dquery = dir->dquery + first * d;
    double dot = 0.0;
    for (int64_t k = 0; k < n * d; k++) {
        dot += (double)r->drow[k] * query[k];
        dquery[k] += dscale * r->drow[k];
    }
    *dlogit_scale += dscale * dot;
    return tdm_gemm(ops, true, false, B, d, n, scale * dscale, r->logits, B, query, d, 1.0f, dir->danswer, d);
}

static tdm_status infonce_run(const infonce_options *o, double weight, tdm_ops *ops, const tdm_loss_input *in,
                              tdm_loss_output *out, const room *r)
{
    const float scale = expf(in->logit_scale);
    const float dscale = (float)(weight * 0.5 / (double)in->B);
    const bool soft = !strcmp(o->soft_targets, "identity");
    const int v = image_view(o), t = TDM_VIEW_TEXT_PLAIN;
    const direction directions[2] = {
        {in->view[v], in->view[t], out->dview[v], out->dview[t]},
        {in->view[t], in->view[v], out->dview[t], out->dview[v]},
    };
    for (int64_t first = in->row0; first < in->row0 + in->b; first += r->block) {
        const int64_t n = tdm_min_i64(r->block, in->row0 + in->b - first);
        fill_targets(in, soft, first, n, r->target);
        for (int k = 0; k < 2; k++) {
            double loss = 0.0;
            TDM_TRY(infonce_block(ops, in, &directions[k], first, n, scale, dscale, r, &loss,
                                  &out->dlogit_scale));
            out->term[0] += 0.5 * loss / (double)in->B;
            out->term[1 + k] += loss / (double)in->B;
        }
    }
    return TDM_OK;
}

static tdm_status infonce_step(const void *options, double weight, tdm_ops *ops, const tdm_loss_input *in,
                               tdm_loss_output *out)
{
    const size_t mark = tdm_scratch_mark(in->scratch);
    room r;
    TDM_TRY(room_take(in, in->scratch, &r));
    TDM_TRY(infonce_run(options, weight, ops, in, out, &r));
    tdm_scratch_rewind(in->scratch, mark);
    return TDM_OK;
}

static const char *const infonce_terms[] = {"infonce", "infonce_image_to_text", "infonce_text_to_image",
                                            NULL};

const tdm_loss tdm_loss_infonce = {
    .name = "infonce",
    .terms = infonce_terms,
    .options = infonce_rows,
    .option_count = sizeof(infonce_rows) / sizeof(infonce_rows[0]),
    .option_bytes = sizeof(infonce_options),
    .views = infonce_views,
    .scratch_bytes = infonce_scratch_bytes,
    .step = infonce_step,
};
