/* Re-rankings on 1-3 ranks: k-reciprocal encoding against its definition with whole matrices, to the bit and with ties;
 * query expansion against sums in f64; how they are asked for. */
#include "check.h"
#include "tandem/comm.h"
#include "tandem/rerank.h"
#include "tandem/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tdm_comm *comm;
static int rank, size;

enum { QUERY, GALLERY, SIDES };

typedef struct people { /* whole lists on every rank */
    int64_t n[SIDES], d;
    float *feature[SIDES]; /* one array, the queries first */
    int64_t *key[SIDES];
} people;

/* Rows around a centre for each key. tied: few values, so that scores are exact and often the same. */
static people make_people(int64_t queries, int64_t gallery, int64_t d, bool tied, bool unit)
{
    people p = {.n = {queries, gallery}, .d = d};
    tdm_rng rng = tdm_rng_at(11, 0, 0, TDM_RNG_TEST);
    CHECK_OK(TDM_ALLOC((queries + gallery) * d, &p.feature[QUERY]));
    CHECK_OK(TDM_ALLOC(queries + gallery, &p.key[QUERY]));
    p.feature[GALLERY] = p.feature[QUERY] + queries * d;
    p.key[GALLERY] = p.key[QUERY] + queries;
    for (int64_t i = 0; i < queries + gallery; i++) {
        float *row = p.feature[QUERY] + i * d;
        double square = 0;
        p.key[QUERY][i] = tdm_rng_below(&rng, 9);
        tdm_rng centre = tdm_rng_at(12, 0, (uint64_t)p.key[QUERY][i], TDM_RNG_TEST);
        for (int64_t k = 0; k < d; k++) {
            row[k] = tied ? (float)(tdm_rng_below(&rng, 5) - 2) / 4
                          : (float)(tdm_rng_normal(&centre) + 0.8 * tdm_rng_normal(&rng));
            square += (double)row[k] * (double)row[k];
        }
        for (int64_t k = 0; unit && !tied && k < d; k++) row[k] = (float)((double)row[k] / sqrt(square));
    }
    return p;
}

static void free_people(people *p)
{
    tdm_free(p->feature[QUERY]);
    tdm_free(p->key[QUERY]);
}

/* ---- The definition ---- */

typedef struct dense {
    double *distance; /* [queries][gallery] final */
    float *score;     /* [N][N] */
    int64_t *order;   /* [queries][gallery] */
} dense;

static const double *sort_distance;
static const float *sort_score;
static int compare_rows(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    if (sort_distance && sort_distance[x] != sort_distance[y])
        return sort_distance[x] < sort_distance[y] ? -1 : 1;
    if (sort_score[x] != sort_score[y]) return sort_score[x] > sort_score[y] ? -1 : 1;
    return (x > y) - (x < y);
}

static void sort_rows(const double *distance, const float *score, int64_t n, int64_t *order)
{
    for (int64_t i = 0; i < n; i++) order[i] = i;
    sort_distance = distance;
    sort_score = score;
    qsort(order, (size_t)n, sizeof *order, compare_rows);
}

static bool is_near(const int64_t *near, int64_t N, int64_t k, int64_t i, int64_t j)
{
    for (int64_t p = 0; p <= k && p < N; p++)
        if (near[i * N + p] == j) return true;
    return false;
}

static bool is_mutual(const int64_t *near, int64_t N, int64_t k, int64_t i, int64_t j)
{
    return is_near(near, N, k, i, j) && is_near(near, N, k, j, i);
}

/* star[N] of row i */
static void find_star(const int64_t *near, int64_t N, int64_t k1, int64_t i, bool *star)
{
    const int64_t half = (int64_t)rint((double)k1 / 2);
    for (int64_t j = 0; j < N; j++) star[j] = is_mutual(near, N, k1, i, j);
    for (int64_t c = 0; c < N; c++) {
        if (!is_mutual(near, N, k1, i, c)) continue;
        int64_t all = 0, common = 0;
        for (int64_t j = 0; j < N; j++) {
            const bool has = is_mutual(near, N, half, c, j);
            all += has;
            common += has && is_mutual(near, N, k1, i, j);
        }
        for (int64_t j = 0; 3 * common > 2 * all && j < N; j++) star[j] |= is_mutual(near, N, half, c, j);
    }
}

static double squared(double square, float score)
{
    return fmax(0, square - 2 * (double)score);
}

/* square[N]; score [N][N] of the rows as queries with all as gallery. */
static void define_k_reciprocal(dense *all, const double *square, int64_t Q, int64_t N, int64_t k1,
                                int64_t k2, double lambda)
{
    int64_t *near = NULL;
    float *v = NULL, *mean = NULL;
    double *far = NULL;
    bool *star = NULL;
    CHECK_OK(TDM_ALLOC(N * N, &near));
    CHECK_OK(TDM_ALLOC(N * N, &v));
    CHECK_OK(TDM_ALLOC(N * N, &mean));
    CHECK_OK(TDM_ALLOC(N, &far));
    CHECK_OK(TDM_ALLOC(N, &star));
    for (int64_t i = 0; i < N; i++) {
        sort_rows(NULL, all->score + i * N, N, near + i * N);
        for (int64_t j = 0; j < N; j++) far[i] = fmax(far[i], squared(square[i], all->score[i * N + j]));
    }
    for (int64_t i = 0; i < N; i++) {
        double sum = 0;
        find_star(near, N, k1, i, star);
        for (int64_t j = 0; j < N; j++)
            if (star[j]) sum += exp(-squared(square[i], all->score[i * N + j]) / far[i]);
        for (int64_t j = 0; j < N; j++)
            if (star[j])
                v[i * N + j] = (float)(exp(-squared(square[i], all->score[i * N + j]) / far[i]) / sum);
    }
    for (int64_t i = 0; i < N; i++) {
        const int64_t lists = tdm_min_i64(k2, N);
        for (int64_t j = 0; j < N; j++) {
            double sum = 0;
            for (int64_t p = 0; p < lists; p++) sum += (double)v[near[i * N + p] * N + j];
            mean[i * N + j] = (float)(sum / (double)lists);
        }
    }
    for (int64_t q = 0; q < Q; q++) {
        double *distance = all->distance + q * (N - Q);
        for (int64_t g = Q; g < N; g++) {
            double shared = 0;
            for (int64_t j = 0; j < N; j++) shared += (double)fminf(mean[q * N + j], mean[g * N + j]);
            distance[g - Q] = (1 - lambda) * (1 - shared / (2 - shared)) +
                              lambda * (squared(square[q], all->score[q * N + g]) / far[q]);
        }
        sort_rows(distance, all->score + q * N + Q, N - Q, all->order + q * (N - Q));
    }
    tdm_free(near);
    tdm_free(v);
    tdm_free(mean);
    tdm_free(far);
    tdm_free(star);
}

static dense define(const people *p, tdm_distance distance, int64_t k1, int64_t k2, double lambda)
{
    const int64_t Q = p->n[QUERY], N = Q + p->n[GALLERY];
    const tdm_eval_side whole = {.n = N, .d = p->d, .feature = p->feature[QUERY]};
    float *seeking = NULL, *found = NULL;
    double *square = NULL;
    dense all = {0};
    CHECK_OK(TDM_ALLOC(N * N, &all.score));
    CHECK_OK(TDM_ALLOC(Q * (N - Q), &all.distance));
    CHECK_OK(TDM_ALLOC(Q * (N - Q), &all.order));
    CHECK_OK(TDM_ALLOC(N, &square));
    CHECK_OK(tdm_eval_euclidean_rows(&whole, false, &seeking));
    CHECK_OK(tdm_eval_euclidean_rows(&whole, true, &found));
    const bool euclidean = distance == TDM_EUCLIDEAN;
    CHECK_OK(euclidean ? tdm_eval_scores(N, N, p->d + 1, seeking, found, all.score)
                       : tdm_eval_scores(N, N, p->d, whole.feature, whole.feature, all.score));
    for (int64_t i = 0; i < N; i++) square[i] = euclidean ? -2.0 * (double)found[i * (p->d + 1) + p->d] : 2;
    define_k_reciprocal(&all, square, Q, N, k1, k2, lambda);
    tdm_free(seeking);
    tdm_free(found);
    tdm_free(square);
    return all;
}

static void free_dense(dense *all)
{
    tdm_free(all->score);
    tdm_free(all->distance);
    tdm_free(all->order);
}

/* Metrics of the orders, as the rows of the table say. */
static tdm_metrics define_metrics(const people *p, const int64_t *order)
{
    const int64_t Q = p->n[QUERY], G = p->n[GALLERY];
    tdm_metrics metrics = {.queries = Q, .gallery = G};
    size_t count = 0;
    const tdm_metric *const *row = tdm_metric_table(&count);
    int64_t *rank_of = NULL;
    double *value = NULL;
    CHECK_OK(TDM_ALLOC(G, &rank_of));
    CHECK_OK(TDM_ALLOC((int64_t)count * Q, &value));
    int64_t with = 0;
    for (int64_t q = 0; q < Q; q++) {
        tdm_ranking ranking = {.rank = rank_of};
        int64_t at = 0;
        for (int64_t i = 0; i < G; i++) {
            const int64_t g = order[q * G + i];
            if (g < 0) continue; /* junk */
            at++;
            if (p->key[GALLERY][g] == p->key[QUERY][q]) rank_of[ranking.m++] = at;
        }
        if (ranking.m == 0) continue;
        for (size_t r = 0; r < count; r++)
            value[(int64_t)r * Q + with] = row[r]->value(&ranking, row[r]->cutoff);
        with++;
    }
    metrics.without_positive = Q - with;
    for (size_t r = 0; r < count; r++) {
        double *of = value + (int64_t)r * Q, sum = 0;
        for (int64_t i = 0; i < with; i++) sum += of[i];
        qsort(of, (size_t)with, sizeof *of, tdm_compare_doubles);
        metrics.value[r] =
            row[r]->summary == TDM_MEDIAN ? 0.5 * (of[(with - 1) / 2] + of[with / 2]) : sum / (double)with;
    }
    tdm_free(rank_of);
    tdm_free(value);
    return metrics;
}

/* ---- Ours ---- */

enum { EVEN, FRONT, SHARDINGS }; /* FRONT leaves ranks nearly empty */

static tdm_eval_side piece(const people *p, int s, int sharding, int64_t *first)
{
    const int64_t n = p->n[s];
    int64_t cut[2];
    for (int i = 0; i < 2; i++) {
        const int part = rank + i;
        cut[i] = sharding == EVEN || part == 0 || part == size ? tdm_part_begin(n, size, part)
                                                               : n - tdm_min_i64(n, size - 1 - part);
    }
    *first = cut[0];
    return (tdm_eval_side){
        .n = cut[1] - cut[0], .d = p->d, .feature = p->feature[s] + cut[0] * p->d, .id = p->key[s] + cut[0]};
}

static void check_metrics(const tdm_metrics *got, const tdm_metrics *want)
{
    size_t count = 0;
    (void)tdm_metric_table(&count);
    CHECK_EQ(got->queries, want->queries);
    CHECK_EQ(got->without_positive, want->without_positive);
    for (size_t r = 0; r < count; r++) CHECK_EQ(got->value[r], want->value[r]);
}

/* By cosine. */
static tdm_metrics reranked(const tdm_rerank_input *input, const char *call)
{
    tdm_rerank_list list;
    tdm_reordering reordering = {0};
    tdm_metrics metrics;
    CHECK_OK(tdm_rerank_ask("test", call, TDM_COSINE, &list));
    CHECK_OK(list.call[0].row->reorder(input, list.call[0].options, &reordering));
    CHECK_OK(tdm_reordering_metrics(input, &reordering, &metrics, NULL));
    tdm_reordering_free(&reordering);
    tdm_rerank_list_free(&list);
    return metrics;
}

/* Metrics and the order of the whole gallery, over several shardings. */
static void check_order(const people *p, tdm_distance distance, const char *call, const dense *want)
{
    const tdm_metrics metrics = define_metrics(p, want->order);
    const int64_t G = p->n[GALLERY];
    tdm_rerank_list list;
    CHECK_OK(tdm_rerank_ask("test", call, distance, &list));
    for (int sharding = 0; sharding < SHARDINGS; sharding++) {
        int64_t first, unused, *row = NULL;
        float *score = NULL;
        const tdm_eval_side query = piece(p, QUERY, sharding, &first);
        const tdm_eval_side gallery = piece(p, GALLERY, (sharding + 1) % SHARDINGS, &unused);
        const tdm_rerank_input input = {
            .comm = comm, .query = &query, .gallery = &gallery, .distance = distance};
        tdm_reordering reordering = {0};
        tdm_metrics got;
        CHECK_OK(list.call[0].row->reorder(&input, list.call[0].options, &reordering));
        CHECK_OK(tdm_reordering_metrics(&input, &reordering, &got, NULL));
        check_metrics(&got, &metrics);
        CHECK_OK(TDM_ALLOC(query.n * G, &row));
        CHECK_OK(TDM_ALLOC(query.n * G, &score));
        CHECK_OK(tdm_reordering_top_k(&input, &reordering, G, row, score));
        for (int64_t i = 0; i < query.n * G; i++) {
            const int64_t *order = want->order + first * G;
            const double *far = want->distance + (first + i / G) * G;
            CHECK_EQ(row[i], order[i]);
            CHECK_NEAR(score[i], 1 - far[order[i]], 1e-5); /* nudged by last bits where f32 would tie */
            if (i % G == 0) continue;
            const int64_t N = p->n[QUERY] + G, *pair = order + i - 1;
            const float *plain = want->score + (first + i / G) * N + p->n[QUERY];
            if (far[pair[0]] == far[pair[1]] && plain[pair[0]] == plain[pair[1]])
                CHECK_EQ(score[i], score[i - 1]);
            else
                CHECK_LT(score[i], score[i - 1]);
        }
        tdm_free(row);
        tdm_free(score);
        tdm_reordering_free(&reordering);
    }
    tdm_rerank_list_free(&list);
}

static void test_k_reciprocal(void **state)
{
    (void)state;
    const struct {
        const char *call;
        int64_t queries, gallery, d, k1, k2;
        double lambda;
        tdm_distance distance;
        bool tied;
    } wanted[] = {
        {"k_reciprocal", 25, 95, 12, 20, 6, 0.3, TDM_COSINE, false},
        {"k_reciprocal(k1=5, k2=2, lambda=0.7)", 25, 85, 12, 5, 2, 0.7, TDM_EUCLIDEAN, false},
        {"k_reciprocal(k1=7, k2=3)", 30, 80, 3, 7, 3, 0.3, TDM_COSINE, true},
        {"k_reciprocal(k1=10)", 30, 80, 3, 10, 6, 0.3, TDM_EUCLIDEAN, true},
        {"k_reciprocal(k1=1, k2=1)", 20, 60, 3, 1, 1, 0.3, TDM_COSINE, true},
        {"k_reciprocal(lambda=0)", 30, 90, 4, 20, 6, 0, TDM_COSINE, true},
        {"k_reciprocal(lambda=1)", 30, 90, 4, 20, 6, 1, TDM_COSINE, true},
        {"k_reciprocal(candidates=200)", 25, 85, 12, 20, 6, 0.3, TDM_COSINE, false}, /* all of them */
        {"k_reciprocal(k1=20, k2=40)", 3, 9, 4, 20, 40, 0.3, TDM_COSINE, false},     /* more than there are */
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        people p = make_people(wanted[i].queries, wanted[i].gallery, wanted[i].d, wanted[i].tied,
                               wanted[i].distance == TDM_COSINE);
        dense want = define(&p, wanted[i].distance, wanted[i].k1, wanted[i].k2, wanted[i].lambda);
        check_order(&p, wanted[i].distance, wanted[i].call, &want);
        free_dense(&want);
        free_people(&p);
    }
}

/* Listed rows whose distances are those of rows that are not: ties between both, above and below their scores. */
static void test_ties(void **state)
{
    (void)state;
    people p = make_people(40, 120, 3, true, true);
    const int64_t Q = p.n[QUERY], G = p.n[GALLERY];
    int64_t first, unused, at = 0;
    const tdm_eval_side query = piece(&p, QUERY, EVEN, &first), gallery = piece(&p, GALLERY, EVEN, &unused);
    const tdm_rerank_input input = {.comm = comm, .query = &query, .gallery = &gallery};
    tdm_reordering r = {.base = 0.25, .weight = 0.5};
    dense want = {0};
    CHECK_OK(TDM_ALLOC(Q * G, &want.score));
    CHECK_OK(TDM_ALLOC(Q * G, &want.distance));
    CHECK_OK(TDM_ALLOC(Q * G, &want.order));
    CHECK_OK(TDM_ALLOC(query.n + 1, &r.offset));
    CHECK_OK(TDM_ALLOC(query.n * G, &r.row));
    CHECK_OK(TDM_ALLOC(query.n * G, &r.score));
    CHECK_OK(TDM_ALLOC(query.n * G, &r.distance));
    CHECK_OK(TDM_ALLOC(query.n, &r.square));
    CHECK_OK(TDM_ALLOC(query.n, &r.far));
    CHECK_OK(tdm_eval_scores(Q, G, p.d, p.feature[QUERY], p.feature[GALLERY], want.score));
    for (int64_t q = 0; q < Q; q++) {
        tdm_rng rng = tdm_rng_at(13, 0, (uint64_t)q, TDM_RNG_TEST);
        const bool own = q >= first && q < first + query.n;
        const float *score = want.score + q * G;
        double *distance = want.distance + q * G;
        /* The scores are from -0.75 to 0.75; a row of 1.5 or more and its like are all at the least distance. */
        const double square = q % 4 == 0 ? 0.5 : 2, far = q % 5 == 0 ? 0 : 1.5;
        for (int64_t g = 0; g < G; g++)
            distance[g] = r.base + r.weight * (far > 0 ? squared(square, score[g]) / far : 0);
        if (own) {
            r.square[q - first] = square;
            r.far[q - first] = far;
        }
        for (int64_t g = 0; g < G; g++) {
            if (tdm_rng_below(&rng, 3) > 0) continue;
            const int64_t like = tdm_rng_below(&rng, G);
            const int64_t kind = tdm_rng_below(&rng, 6);
            distance[g] = kind == 0 ? 0 : kind == 1 ? 9 : distance[like];
            if (!own) continue;
            r.row[at] = g;
            r.score[at] = score[g];
            r.distance[at++] = distance[g];
        }
        if (own) r.offset[q - first + 1] = at;
        sort_rows(distance, score, G, want.order + q * G);
    }
    tdm_metrics got;
    const tdm_metrics metrics = define_metrics(&p, want.order);
    CHECK_OK(tdm_reordering_metrics(&input, &r, &got, NULL));
    check_metrics(&got, &metrics);
    tdm_reordering_free(&r);
    free_dense(&want);
    free_people(&p);
}

/* A query with more positives than are compared one by one, and judgements with grades. */
static void test_judged(void **state)
{
    (void)state;
    people p = make_people(11, 130, 6, true, true);
    dense want = define(&p, TDM_COSINE, 20, 6, 0.3);
    const int64_t G = p.n[GALLERY];
    tdm_judgements judged = {.queries = p.n[QUERY]};
    CHECK_OK(TDM_ALLOC(judged.queries + 1, &judged.offset));
    CHECK_OK(TDM_ALLOC(judged.queries * G, &judged.row));
    CHECK_OK(TDM_ALLOC(judged.queries * G, &judged.grade));
    for (int64_t q = 0; q < judged.queries; q++) {
        int64_t at = judged.offset[q];
        for (int64_t g = q % 3; g < G; g += 1 + q % 4) { /* up to the whole gallery */
            judged.row[at] = g;
            judged.grade[at++] = 1 + (int32_t)(g % 3);
        }
        judged.offset[q + 1] = at;
    }
    int64_t first, unused;
    tdm_eval_side query = piece(&p, QUERY, EVEN, &first);
    const tdm_eval_side gallery = piece(&p, GALLERY, EVEN, &unused);
    query.judged = &judged;
    const tdm_rerank_input input = {.comm = comm, .query = &query, .gallery = &gallery};
    const tdm_metrics got = reranked(&input, "k_reciprocal");
    double ndcg = 0, map = 0;
    for (int64_t q = 0; q < judged.queries; q++) {
        double gain = 0, ideal = 0, precision = 0;
        int64_t found = 0, grades[4] = {0};
        for (int64_t at = 0; at < G; at++) {
            const int64_t row = want.order[q * G + at], n = judged.offset[q + 1] - judged.offset[q];
            const int64_t place = tdm_lower_bound(judged.row + judged.offset[q], n, row);
            if (place == n || judged.row[judged.offset[q] + place] != row) continue;
            const int32_t grade = judged.grade[judged.offset[q] + place];
            if (at < 10) gain += grade / log2((double)at + 2);
            precision += (double)++found / (double)(at + 1);
            grades[grade]++;
        }
        for (int64_t at = 0, grade = 3; at < 10 && grade > 0;) {
            if (grades[grade] == 0) {
                grade--;
                continue;
            }
            grades[grade]--;
            ideal += (double)grade / log2((double)at++ + 2);
        }
        ndcg += gain / ideal / (double)judged.queries;
        map += precision / (double)found / (double)judged.queries;
    }
    CHECK_NEAR(tdm_metrics_value(&got, "ndcg_at_10"), ndcg, 1e-13); /* other order of sums */
    CHECK_NEAR(tdm_metrics_value(&got, "map"), map, 1e-13);
    tdm_judgements_free(&judged);
    free_dense(&want);
    free_people(&p);
}

/* Junk plays its part as a neighbour, and is taken away before ranks are counted. */
static void test_cameras(void **state)
{
    (void)state;
    people p = make_people(21, 110, 5, false, true);
    const int64_t Q = p.n[QUERY], G = p.n[GALLERY];
    dense want = define(&p, TDM_COSINE, 20, 6, 0.3);
    int64_t *camera = NULL, first[SIDES], junk = 0;
    CHECK_OK(TDM_ALLOC(Q + G, &camera));
    tdm_rng rng = tdm_rng_at(14, 0, 0, TDM_RNG_TEST);
    for (int64_t i = 0; i < Q + G; i++) camera[i] = tdm_rng_below(&rng, 2);
    for (int64_t i = 0; i < Q * G; i++) {
        const int64_t q = i / G, row = want.order[i];
        if (p.key[GALLERY][row] != p.key[QUERY][q] || camera[Q + row] != camera[q]) continue;
        want.order[i] = -1;
        junk++;
    }
    CHECK_GE(junk, Q);
    tdm_eval_side query = piece(&p, QUERY, EVEN, &first[QUERY]);
    tdm_eval_side gallery = piece(&p, GALLERY, EVEN, &first[GALLERY]);
    query.camera = camera + first[QUERY];
    gallery.camera = camera + Q + first[GALLERY];
    const tdm_rerank_input input = {.comm = comm, .query = &query, .gallery = &gallery};
    const tdm_metrics metrics = define_metrics(&p, want.order);
    const tdm_metrics got = reranked(&input, "k_reciprocal");
    check_metrics(&got, &metrics);
    tdm_free(camera);
    free_dense(&want);
    free_people(&p);
}

/* Row i of `side` with its k best of `others`, but itself. */
static void define_expansion(const people *p, const float *own, const float *others, int64_t n, int64_t but,
                             int64_t k, double alpha, double *out)
{
    float *score = NULL;
    int64_t *order = NULL;
    double square = 0;
    CHECK_OK(TDM_ALLOC(n, &score));
    CHECK_OK(TDM_ALLOC(n, &order));
    CHECK_OK(tdm_eval_scores(1, n, p->d, own, others, score));
    if (but >= 0) score[but] = -INFINITY;
    sort_rows(NULL, score, n, order);
    for (int64_t c = 0; c < p->d; c++) {
        out[c] = (double)own[c];
        for (int64_t j = 0; j < k; j++)
            out[c] += pow(fmax(0, (double)score[order[j]]), alpha) * (double)others[order[j] * p->d + c];
        square += out[c] * out[c];
    }
    for (int64_t c = 0; c < p->d; c++) out[c] /= sqrt(square);
    tdm_free(score);
    tdm_free(order);
}

static void test_query_expansion(void **state)
{
    (void)state;
    people p = make_people(23, 130, 8, false, true);
    tdm_rerank_list list;
    CHECK_OK(tdm_rerank_ask("test", "query_expansion(k=4), query_expansion(k = 3,alpha=0.5 , gallery_k=5)",
                            TDM_COSINE, &list));
    CHECK_EQ(list.count, 2);
    for (int sharding = 0; sharding < SHARDINGS; sharding++) {
        int64_t first[SIDES];
        const tdm_eval_side query = piece(&p, QUERY, sharding, &first[QUERY]);
        const tdm_eval_side gallery = piece(&p, GALLERY, (sharding + 1) % SHARDINGS, &first[GALLERY]);
        const tdm_rerank_input input = {.comm = comm, .query = &query, .gallery = &gallery};
        tdm_reordering plain = {0}, both = {0};
        tdm_metrics metrics;
        double want[8];
        CHECK_OK(list.call[0].row->reorder(&input, list.call[0].options, &plain));
        CHECK_NULL(plain.gallery);
        CHECK_NULL(plain.offset);
        for (int64_t i = 0; i < query.n; i++) {
            define_expansion(&p, query.feature + i * p.d, p.feature[GALLERY], p.n[GALLERY], -1, 4, 3, want);
            for (int64_t c = 0; c < p.d; c++) CHECK_NEAR(plain.query[i * p.d + c], want[c], 1e-7); /* f32 */
        }
        CHECK_OK(tdm_reordering_metrics(&input, &plain, &metrics, NULL));
        CHECK_GE(tdm_metrics_value(&metrics, "map"), 0.3);
        CHECK_OK(list.call[1].row->reorder(&input, list.call[1].options, &both));
        for (int64_t i = 0; i < gallery.n; i++) {
            define_expansion(&p, gallery.feature + i * p.d, p.feature[GALLERY], p.n[GALLERY],
                             first[GALLERY] + i, 5, 0.5, want);
            for (int64_t c = 0; c < p.d; c++) CHECK_NEAR(both.gallery[i * p.d + c], want[c], 1e-7);
        }
        tdm_reordering_free(&plain);
        tdm_reordering_free(&both);
    }
    tdm_rerank_list_free(&list);
    free_people(&p);
}

/* With candidates the rest of the gallery is ranked as if it had not been there while neighbours were sought. */
static void test_candidates(void **state)
{
    (void)state;
    people p = make_people(9, 140, 5, false, true);
    const int64_t Q = p.n[QUERY], G = p.n[GALLERY], K = 6;
    people part = {.n = {Q, 0}, .d = p.d};
    int64_t *of_part = NULL, *order = NULL, *whole = NULL, first, unused;
    bool *is_candidate = NULL;
    float *score = NULL;
    CHECK_OK(TDM_ALLOC(Q * G, &score));
    CHECK_OK(TDM_ALLOC(G, &order));
    CHECK_OK(TDM_ALLOC(G, &is_candidate));
    CHECK_OK(TDM_ALLOC(G, &of_part));
    CHECK_OK(TDM_ALLOC(Q * G, &whole));
    CHECK_OK(TDM_ALLOC((Q + G) * p.d, &part.feature[QUERY]));
    memcpy(part.feature[QUERY], p.feature[QUERY], (size_t)(Q * p.d) * sizeof(float));
    CHECK_OK(tdm_eval_scores(Q, G, p.d, p.feature[QUERY], p.feature[GALLERY], score));
    for (int64_t q = 0; q < Q; q++) {
        sort_rows(NULL, score + q * G, G, order);
        for (int64_t j = 0; j < K; j++) is_candidate[order[j]] = true;
    }
    for (int64_t g = 0; g < G; g++) {
        if (!is_candidate[g]) continue;
        memcpy(part.feature[QUERY] + (Q + part.n[GALLERY]) * p.d, p.feature[GALLERY] + g * p.d,
               (size_t)p.d * sizeof(float));
        of_part[part.n[GALLERY]++] = g;
    }
    CHECK_LT(part.n[GALLERY], G);
    dense all = define(&part, TDM_COSINE, 20, 6, 0.3);
    const int64_t C = part.n[GALLERY], N = Q + C;
    for (int64_t q = 0; q < Q; q++) {
        double distance[256], far = 0;
        for (int64_t j = 0; j < N; j++) far = fmax(far, squared(2, all.score[q * N + j]));
        for (int64_t g = 0; g < G; g++) distance[g] = 1 - 0.3 + 0.3 * (squared(2, score[q * G + g]) / far);
        for (int64_t c = 0; c < C; c++) distance[of_part[c]] = all.distance[q * C + c];
        sort_rows(distance, score + q * G, G, whole + q * G);
    }
    const tdm_eval_side query = piece(&p, QUERY, EVEN, &first), gallery = piece(&p, GALLERY, EVEN, &unused);
    const tdm_rerank_input input = {.comm = comm, .query = &query, .gallery = &gallery};
    const tdm_metrics want = define_metrics(&p, whole);
    const tdm_metrics got = reranked(&input, "k_reciprocal(candidates=6)");
    check_metrics(&got, &want);
    free_dense(&all);
    free_people(&part);
    free_people(&p);
    tdm_free(of_part);
    tdm_free(order);
    tdm_free(whole);
    tdm_free(is_candidate);
    tdm_free(score);
}

static void test_asking(void **state)
{
    (void)state;
    tdm_rerank_list list;
    const struct {
        const char *call;
        tdm_distance distance;
        const char *part;
    } wrong[] = {
        {"k_reciprocl", TDM_COSINE, "here: there is no \"k_reciprocl\", did you mean k_reciprocal?"},
        {"k_reciprocal(k3=4)", TDM_COSINE, "k_reciprocal has no option \"k3\" (did you mean k"},
        {"k_reciprocal(k1=0)", TDM_COSINE, "k_reciprocal: k1 = 0 is not from 1 to 1000"},
        {"k_reciprocal(k1=2.5)", TDM_COSINE, "k1 = \"2.5\" is no whole number"},
        {"k_reciprocal(lambda=nan)", TDM_COSINE, "lambda = \"nan\" is no number"},
        {"k_reciprocal(k1)", TDM_COSINE, "\"k1\": expected key=value"},
        {"k_reciprocal(k1=2", TDM_COSINE, "the bracket is not closed"},
        {"k_reciprocal,", TDM_COSINE, "expected a comma and a name"},
        {",k_reciprocal", TDM_COSINE, "expected NAME or NAME(key=value"},
        {"k_reciprocal()x", TDM_COSINE, "expected a comma and a name"},
        {"k_reciprocal", TDM_DOT, "k_reciprocal is defined for --distance cosine and euclidean"},
        {"query_expansion", TDM_EUCLIDEAN, "query_expansion is defined for --distance cosine"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_FAILS(tdm_rerank_ask("here", wrong[i].call, wrong[i].distance, &list), TDM_E_USAGE,
                    wrong[i].part);
    CHECK_OK(tdm_rerank_ask("here", "", TDM_DOT, &list));
    CHECK_EQ(list.count, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_k_reciprocal), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_judged),       cmocka_unit_test(test_query_expansion),
        cmocka_unit_test(test_cameras),      cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_asking),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    rank = tdm_comm_rank(comm);
    size = tdm_comm_size(comm);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
