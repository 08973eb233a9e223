/* Pictures of an embedding: principal components and t-SNE against NumPy and scikit-learn (tests/golden/
 * make_projection_golden.py), and the sample that they are made of. */
#include "check.h"
#include "tandem/comm.h"
#include "tandem/rng.h"

#include "../../src/eval/projection_impl.h"
#include "../golden/projection_golden.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static tdm_comm *comm;
static const tdm_projection_options usual = {.perplexity = 30};

/* The points of the golden file. */
static void golden_points(float x[GOLDEN_POINTS * GOLDEN_WIDTH])
{
    for (int i = 0; i < GOLDEN_POINTS; i++)
        for (int k = 0; k < GOLDEN_WIDTH; k++)
            x[i * GOLDEN_WIDTH + k] =
                (float)(sin(1 + 7 * (i % 4) + 3 * k) + 0.35 * sin((double)(i * k + 5 * i + k)));
}

static const tdm_projection *find(const char *name)
{
    size_t count;
    const tdm_projection *const *row = tdm_projection_table(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(row[i]->name, name) == 0) return row[i];
    return NULL;
}

/* A v = λ v, V orthonormal, λ falling: a matrix with a threefold eigenvalue, and of less than full rank. */
static void test_eigenvectors(void **state)
{
    (void)state;
    enum { D = 40, RANK = 25 };
    double basis[RANK][D], a[D * D] = {0}, v[D * D], value[D];
    tdm_rng rng = tdm_rng_at(3, 0, 0, TDM_RNG_TEST);
    for (int r = 0; r < RANK; r++)
        for (int k = 0; k < D; k++) basis[r][k] = r < 3 ? r == k : tdm_rng_normal(&rng);
    for (int r = 0; r < RANK; r++)
        for (int i = 0; i < D * D; i++) a[i] += (r < 3 ? 1000 : 1) * basis[r][i / D] * basis[r][i % D];
    memcpy(v, a, sizeof a);
    CHECK_OK(symmetric_eigen(D, v, value));
    for (int r = 0; r < D; r++) {
        if (r > 0) CHECK_LE(value[r], value[r - 1]);
        for (int i = 0; i < D; i++) {
            double image = 0, product = 0;
            for (int k = 0; k < D; k++) {
                image += a[i * D + k] * v[r * D + k];
                product += v[r * D + k] * v[i * D + k];
            }
            CHECK_NEAR(image, value[r] * v[r * D + i], 1e-11 * value[0]); /* some hundred roundings of f64 */
            CHECK_NEAR(product, r == i, 1e-12);
        }
    }
    double one[] = {-3}, nothing[9] = {0};
    CHECK_OK(symmetric_eigen(1, one, value));
    CHECK_EQ(value[0], -3);
    CHECK_EQ(one[0], 1);
    CHECK_OK(symmetric_eigen(3, nothing, value));
    CHECK_EQ(value[0], 0);
}

static void test_principal_components(void **state)
{
    (void)state;
    float x[GOLDEN_POINTS * GOLDEN_WIDTH];
    double place[GOLDEN_POINTS * 2], share[2];
    golden_points(x);
    CHECK_OK(pca_place(GOLDEN_POINTS, GOLDEN_WIDTH, x, place, share));
    /* The points are rounded to f32, which may differ by a last place between two libraries' sines. */
    for (int i = 0; i < 2 * GOLDEN_POINTS; i++) CHECK_NEAR(place[i], golden_pca[i], 2e-6);
    for (int c = 0; c < 2; c++) CHECK_NEAR(share[c], golden_share[c], 1e-7);
}

static void test_tsne(void **state)
{
    (void)state;
    float x[GOLDEN_POINTS * GOLDEN_WIDTH], p[GOLDEN_POINTS * GOLDEN_POINTS];
    double place[GOLDEN_POINTS * 2], share[2], square = 0, total = 0, divergence;
    golden_points(x);
    CHECK_OK(tsne_joint(GOLDEN_POINTS, GOLDEN_WIDTH, x, GOLDEN_PERPLEXITY, p));
    for (int i = 0; i < GOLDEN_POINTS * GOLDEN_POINTS; i++) total += (double)p[i];
    CHECK_NEAR(total, 1, 1e-5);
    /* Bisection ends at 1e-5 of the entropy. */
    for (int j = 0; j < GOLDEN_POINTS; j++)
        CHECK_NEAR((double)p[j], golden_joint_row[j], 2e-5 * golden_joint_row[j] + 1e-9);

    CHECK_OK(pca_place(GOLDEN_POINTS, GOLDEN_WIDTH, x, place, share));
    for (int i = 0; i < GOLDEN_POINTS; i++) square += place[2 * i] * place[2 * i] / GOLDEN_POINTS;
    for (int i = 0; i < 2 * GOLDEN_POINTS; i++) place[i] *= 1e-4 / sqrt(square);
    CHECK_OK(tsne_descend(GOLDEN_POINTS, p, GOLDEN_STEPS, place));
    double largest = 0;
    for (int i = 0; i < 2 * GOLDEN_POINTS; i++) largest = fmax(largest, fabs(golden_early[i]));
    /* Our forces are f32; each of these first, exaggerated steps multiplies what differs. */
    for (int i = 0; i < 2 * GOLDEN_POINTS; i++) CHECK_NEAR(place[i], golden_early[i], 1e-3 * largest);

    /* Later two runs part for their last bits, but end equally deep. */
    tdm_text note = {0};
    const tdm_projection_options options = {.perplexity = GOLDEN_PERPLEXITY};
    CHECK_OK(find("tsne")->project(GOLDEN_POINTS, GOLDEN_WIDTH, x, &options, place, &note));
    CHECK_CONTAINS(note.data, "perplexity 10");
    tdm_text_free(&note);
    CHECK_OK(tsne_divergence(GOLDEN_POINTS, p, place, &divergence));
    CHECK_GE(divergence,
             0.95 * golden_divergence[0]); /* of 20 of theirs, which are not all that there can be */
    CHECK_LE(divergence, 1.05 * golden_divergence[1]);
}

/* Groups far apart stay together: nearly every point's nearest in the picture is of its own group. */
static void test_groups_stay_together(void **state)
{
    (void)state;
    enum { N = 150, D = 32, GROUPS = 6 };
    static float x[N * D];
    static double place[N * 2], again[N * 2];
    tdm_rng rng = tdm_rng_at(5, 0, 0, TDM_RNG_TEST);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++) x[i * D + k] = (float)((k == i % GROUPS ? 6 : 0) + tdm_rng_normal(&rng));
    tdm_text note = {0};
    omp_set_num_threads(1);
    CHECK_OK(find("tsne")->project(N, D, x, &usual, place, &note));
    int same = 0;
    for (int i = 0; i < N; i++) {
        double least = INFINITY;
        int nearest = -1;
        for (int j = 0; j < N; j++) {
            const double distance = hypot(place[2 * i] - place[2 * j], place[2 * i + 1] - place[2 * j + 1]);
            if (j == i || distance >= least) continue;
            least = distance;
            nearest = j;
        }
        same += nearest % GROUPS == i % GROUPS;
    }
    CHECK_GE(same, N * 98 / 100);
    size_t count;
    const tdm_projection *const *row = tdm_projection_table(&count);
    for (size_t r = 0; r < count; r++) {
        omp_set_num_threads(1);
        CHECK_OK(row[r]->project(N, D, x, &usual, place, &note));
        omp_set_num_threads(3);
        CHECK_OK(row[r]->project(N, D, x, &usual, again, &note));
        CHECK_MEM_EQ(again, place, sizeof place);
    }
    omp_set_num_threads(1);
    tdm_text_free(&note);
}

/* Few points, equal points, one column: finite places. */
static void test_odd_points(void **state)
{
    (void)state;
    static const struct {
        int n, d;
        bool equal;
    } cases[] = {{0, 3, false}, {1, 3, false}, {2, 3, false}, {3, 1, false}, {5, 1, true}, {40, 3, true}};
    size_t count;
    const tdm_projection *const *row = tdm_projection_table(&count);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        for (size_t r = 0; r < count; r++) {
            float x[40 * 3];
            double place[40 * 2];
            tdm_text note = {0};
            for (int i = 0; i < 40 * 3; i++) x[i] = cases[c].equal ? 0.5F : (float)(i % 7);
            memset(place, 0xff, sizeof place);
            CHECK_OK(row[r]->project(cases[c].n, cases[c].d, x, &usual, place, &note));
            for (int i = 0; i < 2 * cases[c].n; i++) CHECK_TRUE(isfinite(place[i]));
            tdm_text_free(&note);
        }
}

/* The rank's piece of 50 images and 80 captions, whose features say where they come from. */
static void make_embeddings(tdm_embeddings *e)
{
    const int rank = tdm_comm_rank(comm), size = tdm_comm_size(comm);
    *e = (tdm_embeddings){.d = 2};
    e->image_first = tdm_part_begin(50, size, rank);
    e->images = tdm_part_begin(50, size, rank + 1) - e->image_first;
    e->caption_first = tdm_part_begin(80, size, rank);
    e->captions = tdm_part_begin(80, size, rank + 1) - e->caption_first;
    CHECK_OK(TDM_ALLOC(e->images * 2, &e->image));
    CHECK_OK(TDM_ALLOC(e->captions * 2, &e->text));
    for (int64_t i = 0; i < e->images; i++) e->image[2 * i] = (float)(e->image_first + i);
    for (int64_t i = 0; i < e->captions; i++) {
        e->text[2 * i] = (float)(e->caption_first + i);
        e->text[2 * i + 1] = 1;
    }
}

static void test_sample(void **state)
{
    (void)state;
    tdm_embeddings e;
    make_embeddings(&e);
    static const int64_t most[] = {1000, 130, 40, 1};
    for (size_t c = 0; c < sizeof most / sizeof most[0]; c++) {
        tdm_embedding_sample s, other;
        CHECK_OK(tdm_embedding_sample_take(comm, &e, most[c], 1, &s));
        CHECK_OK(tdm_embedding_sample_take(comm, &e, most[c], 2, &other));
        if (tdm_comm_rank(comm) != 0) {
            CHECK_EQ(s.n, 0);
            continue;
        }
        CHECK_EQ(s.total, 130);
        CHECK_EQ(s.n, tdm_min_i64(most[c], 130));
        if (s.n == 130) CHECK_EQ(s.images, 50);
        if (s.n == 40) CHECK_MEM_NE(other.place, s.place, 40 * sizeof(int64_t));
        for (int64_t i = 0; i < s.n; i++) {
            const bool is_first = i == 0 || i == s.images;
            CHECK_EQ(s.feature[2 * i], (float)s.place[i]);
            CHECK_EQ(s.feature[2 * i + 1], i >= s.images);
            if (!is_first) CHECK_LT(s.place[i - 1], s.place[i]);
        }
        tdm_embedding_sample_free(&s);
        tdm_embedding_sample_free(&other);
    }
    tdm_embeddings_free(&e);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample), /* the only one that the ranks do together */
        cmocka_unit_test(test_eigenvectors), cmocka_unit_test(test_principal_components),
        cmocka_unit_test(test_tsne),         cmocka_unit_test(test_groups_stay_together),
        cmocka_unit_test(test_odd_points),
    };
    if (tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    const size_t count = tdm_comm_size(comm) == 1 ? sizeof tests / sizeof tests[0] : 1;
    const int failed = _cmocka_run_group_tests("projection", tests, count, NULL, NULL);
    tdm_comm_destroy(&comm);
    return failed;
}
