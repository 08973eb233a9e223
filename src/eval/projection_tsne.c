/* t-SNE (van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008), exact: every pair of points counts.
 *
 * p_j|i = exp(-b_i |x_i - x_j|²) / Σ_k≠i, with b_i such that exp of the row's entropy is the perplexity (bisection);
 * p_ij = (p_j|i + p_i|j) / 2n. In the plane w_ij = 1 / (1 + |y_i - y_j|²) and q_ij = w_ij / Z, Z = Σ over all pairs.
 * Gradient descent on KL(p | q): dy_i = 4 Σ_j (p_ij - q_ij) w_ij (y_i - y_j).
 *
 * What the paper leaves to choose is as in scikit-learn, exact method: the first 250 of 1,000 steps with 12 p and
 * momentum 0.5, then 0.8; a step of n / 48 but at least 50 (Belkina and others, Nature Communications 10, 2019); a gain
 * for each coordinate; the principal components at a spread of 10^-4 as the start (Kobak and Berens, the same volume).
 * Nothing is drawn at random. */
#include "projection_impl.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { STEPS = 1000, EARLY_STEPS = 250, MAX_BISECTIONS = 100 };
static const double exaggeration = 12, early_momentum = 0.5, late_momentum = 0.8, least_step = 50,
                    least_gain = 0.01, start_spread = 1e-4, entropy_tolerance = 1e-5;

/* ---- Neighbours ---- */

/* row[n], squared distances from point `self`, become its p_j|i. */
static void find_neighbours(int64_t n, int64_t self, double entropy, float *row)
{
    double nearest = INFINITY, b = 1, low = -INFINITY, high = INFINITY, sum = 1;
    for (int64_t j = 0; j < n; j++)
        if (j != self) nearest = fmin(nearest, (double)row[j]);
    for (int i = 0; i < MAX_BISECTIONS; i++) {
        double moment = 0;
        sum = 0;
        for (int64_t j = 0; j < n; j++) {
            const double distance = (double)row[j] - nearest;
            const double weight = j == self ? 0 : exp(-b * distance);
            sum += weight;
            moment += weight * distance;
        }
        const double excess = log(sum) + b * moment / sum - entropy;
        if (fabs(excess) <= entropy_tolerance) break;
        if (excess > 0)
            low = b;
        else
            high = b;
        b = excess > 0 ? (high == INFINITY ? b * 2 : (b + high) / 2)
                       : (low == -INFINITY ? b / 2 : (b + low) / 2);
    }
    for (int64_t j = 0; j < n; j++)
        row[j] = j == self ? 0 : (float)(exp(-b * ((double)row[j] - nearest)) / sum);
}

tdm_status tsne_joint(int64_t n, int64_t d, const float *feature, double perplexity, float *p)
{
    double *square = NULL;
    TDM_TRY(tdm_eval_scores(n, n, d, feature, feature, p));
    TDM_TRY(TDM_ALLOC(n, &square));
    for (int64_t i = 0; i < n; i++) square[i] = (double)p[i * n + i];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *row = p + i * n;
        for (int64_t j = 0; j < n; j++) row[j] = (float)fmax(0, square[i] + square[j] - 2 * (double)row[j]);
        find_neighbours(n, i, log(perplexity), row);
    }
#pragma omp parallel for schedule(dynamic, 16)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) /* a pair has one thread */
            p[i * n + j] = p[j * n + i] = (p[i * n + j] + p[j * n + i]) / (float)(2 * n);
    tdm_free(square);
    return TDM_OK;
}

/* ---- Descent ---- */

typedef struct descent {
    int64_t n;
    const float *p;
    double *place, *update, *gain; /* [n][2] */
    float *x, *y;                  /* [n] the place in f32 */
    float *force;                  /* [n][4] attraction, repulsion */
    double *weight;                /* [n] Σ_j≠i w_ij */
} descent;

/* Row i: attraction Σ p w (y_i - y_j), repulsion Σ w² (y_i - y_j), and Σ w. */
static void row_forces(descent *s, int64_t i)
{
    const int64_t n = s->n;
    const float *p = s->p + i * n, *x = s->x, *y = s->y, xi = x[i], yi = y[i];
    float pull_x = 0, pull_y = 0, push_x = 0, push_y = 0, sum = 0;
#pragma omp simd reduction(+ : pull_x, pull_y, push_x, push_y, sum)
    for (int64_t j = 0; j < n; j++) {
        const float dx = xi - x[j], dy = yi - y[j];
        const float w = 1.0F / (1.0F + dx * dx + dy * dy), pull = p[j] * w, push = w * w;
        pull_x += pull * dx;
        pull_y += pull * dy;
        push_x += push * dx;
        push_y += push * dy;
        sum += w;
    }
    memcpy(s->force + 4 * i, (const float[]){pull_x, pull_y, push_x, push_y}, 4 * sizeof(float));
    s->weight[i] = (double)sum - 1; /* w_ii = 1 is none of the pairs */
}

/* Σ over all pairs of w. */
static double find_forces(descent *s)
{
    double total = 0;
    for (int64_t i = 0; i < s->n; i++) {
        s->x[i] = (float)s->place[2 * i];
        s->y[i] = (float)s->place[2 * i + 1];
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < s->n; i++) row_forces(s, i);
    for (int64_t i = 0; i < s->n; i++) total += s->weight[i];
    return fmax(total, DBL_MIN);
}

static void move(descent *s, double total, double exaggerated, double momentum, double step)
{
    for (int64_t i = 0; i < s->n; i++)
        for (int c = 0; c < 2; c++) {
            const int64_t at = 2 * i + c;
            const double gradient =
                4 * (exaggerated * (double)s->force[4 * i + c] - (double)s->force[4 * i + 2 + c] / total);
            const bool turns = s->update[at] * gradient >= 0; /* the last move went up this slope */
            s->gain[at] = fmax(turns ? s->gain[at] * 0.8 : s->gain[at] + 0.2, least_gain);
            s->update[at] = momentum * s->update[at] - step * s->gain[at] * gradient;
            s->place[at] += s->update[at];
        }
}

static void rest(descent *s)
{
    for (int64_t i = 0; i < 2 * s->n; i++) {
        s->update[i] = 0;
        s->gain[i] = 1;
    }
}

static tdm_status descend(descent *s, int steps)
{
    const double step = fmax((double)s->n / exaggeration / 4, least_step);
    TDM_TRY(TDM_ALLOC(s->n * 2, &s->update));
    TDM_TRY(TDM_ALLOC(s->n * 2, &s->gain));
    TDM_TRY(TDM_ALLOC(s->n, &s->x));
    TDM_TRY(TDM_ALLOC(s->n, &s->y));
    TDM_TRY(TDM_ALLOC(s->n * 4, &s->force));
    TDM_TRY(TDM_ALLOC(s->n, &s->weight));
    for (int i = 0; i < steps; i++) {
        const bool is_early = i < EARLY_STEPS;
        TDM_TRY(tdm_stop_point("after %d of %d steps of t-SNE", i, steps));
        if (i == 0 || i == EARLY_STEPS) rest(s);
        const double total = find_forces(s);
        move(s, total, is_early ? exaggeration : 1, is_early ? early_momentum : late_momentum, step);
        if (i % 50 == 0) tdm_progress("t-SNE of %lld points: step %d of %d", (long long)s->n, i, steps);
    }
    tdm_progress_clear();
    return TDM_OK;
}

tdm_status tsne_descend(int64_t n, const float *p, int steps, double *place)
{
    descent s = {.n = n, .p = p, .place = place};
    const tdm_status status = descend(&s, steps);
    tdm_free(s.update);
    tdm_free(s.gain);
    tdm_free(s.x);
    tdm_free(s.y);
    tdm_free(s.force);
    tdm_free(s.weight);
    return status;
}

tdm_status tsne_divergence(int64_t n, const float *p, const double *place, double *divergence)
{
    double *row = NULL, weights = 0, sum = 0; /* row[n][2]: Σ w, Σ p log(p / w) */
    TDM_TRY(TDM_ALLOC(n * 2, &row));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (j == i) continue;
            const double w =
                1 / (1 + pow(place[2 * i] - place[2 * j], 2) + pow(place[2 * i + 1] - place[2 * j + 1], 2));
            const double pair = (double)p[i * n + j];
            row[2 * i] += w;
            if (pair > 0) row[2 * i + 1] += pair * log(pair / w);
        }
    for (int64_t i = 0; i < n; i++) {
        weights += row[2 * i];
        sum += row[2 * i + 1];
    }
    *divergence = sum + log(weights); /* Σ p = 1 */
    tdm_free(row);
    return TDM_OK;
}

/* ---- The row ---- */

/* The principal components, small: the first one's standard deviation becomes start_spread. */
static tdm_status start(int64_t n, int64_t d, const float *feature, double *place)
{
    double share[2], sum = 0;
    TDM_TRY(pca_place(n, d, feature, place, share));
    for (int64_t i = 0; i < n; i++) sum += place[2 * i] * place[2 * i] / (double)n;
    for (int64_t i = 0; i < 2 * n; i++) place[i] *= sum > 0 ? start_spread / sqrt(sum) : 0;
    return TDM_OK;
}

static tdm_status place_with(int64_t n, int64_t d, const float *feature, double perplexity, float *p,
                             double *place, double *divergence)
{
    TDM_TRY(start(n, d, feature, place));
    TDM_TRY(tsne_joint(n, d, feature, perplexity, p));
    TDM_TRY(tsne_descend(n, p, STEPS, place));
    return tsne_divergence(n, p, place, divergence);
}

static tdm_status project(int64_t n, int64_t d, const float *feature, const tdm_projection_options *options,
                          double *place, tdm_text *note)
{
    /* A row of n - 1 neighbours has no larger perplexity; three times as many are usual. */
    const double perplexity = fmax(1, fmin(options->perplexity, (double)(n - 1) / 3));
    float *p = NULL;
    double divergence = 0;
    memset(place, 0, (size_t)n * 2 * sizeof *place);
    if (n < 2) return tdm_text_printf(note, "Too few points for t-SNE.");
    TDM_TRY(TDM_ALLOC(n * n, &p));
    const tdm_status status = place_with(n, d, feature, perplexity, p, place, &divergence);
    tdm_free(p);
    TDM_TRY(status);
    return tdm_text_printf(note,
                           "t-SNE, exact, perplexity %.3g: neighbours stay neighbours, distances between "
                           "groups mean little. Kullback-Leibler divergence %.3f.",
                           perplexity, divergence);
}

const tdm_projection projection_tsne = {
    .name = "tsne",
    .title = "t-SNE",
    .help = "neighbours stay neighbours; exact, time and memory by the square of the points",
    .project = project,
};
