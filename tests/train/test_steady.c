/* After its first steps a run takes no memory and creates no primitive: whatever is kept of the activations,
 * with every way to multiply. On 1 and 2 ranks. */
#include "trainer_case.h"

#include <stdatomic.h>

enum { B = 12, CONTEXT = 9, VOCAB = 40, IMAGE_BYTES = 64 * 32 * 3, WARMUP = 2, STEPS = 3, LARGE = 4096 };

/* ---- malloc, counted: of the whole process, oneDNN's too, whose execution takes some small blocks ---- */
static atomic_bool counting;
static atomic_int large_blocks;
static atomic_size_t largest;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);

static void count(size_t bytes)
{
    if (!atomic_load(&counting) || bytes < LARGE) return;
    atomic_fetch_add(&large_blocks, 1);
    if (bytes > atomic_load(&largest)) atomic_store(&largest, bytes);
}

void *malloc(size_t bytes)
{
    count(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count(n * bytes);
    return __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count(bytes);
    return __libc_realloc(old, bytes);
}
#endif

typedef struct piece {
    tdm_batch batch;
    uint8_t image[B * IMAGE_BYTES];
    int32_t token[B * CONTEXT];
    int64_t seq[B + 1], sample[B], identity[B];
} piece;

/* n pairs of this rank, the same number of tokens on each call. */
static void make_piece(piece *p, int64_t n)
{
    tdm_rng rng = tdm_rng_at(29, 0, (uint64_t)tdm_comm_rank(comm), TDM_RNG_TEST);
    memset(p, 0, sizeof *p);
    for (int i = 0; i < B * IMAGE_BYTES; i++) p->image[i] = (uint8_t)tdm_rng_u32(&rng);
    for (int64_t i = 0; i < n; i++) {
        p->seq[i + 1] = p->seq[i] + 3 + i % 5;
        for (int64_t k = p->seq[i]; k < p->seq[i + 1]; k++) p->token[k] = (int32_t)tdm_rng_below(&rng, VOCAB);
        p->sample[i] = p->identity[i] = tdm_comm_rank(comm) * B + i;
    }
    p->batch.n = p->batch.view[TDM_VIEW_IMAGE_AUG_1].n = p->batch.view[TDM_VIEW_TEXT_PLAIN].n = n;
    p->batch.view[TDM_VIEW_IMAGE_AUG_1].image = p->image;
    p->batch.view[TDM_VIEW_TEXT_PLAIN].text = (tdm_text_batch){.token = p->token, .seq = p->seq};
    p->batch.sample = p->sample;
    p->batch.identity = p->identity;
}

static void set_up(setup *s, const char *precision, const char *const *more)
{
    static const char *const assignments[] = {"model.embed_dim=16",       "model.image.height_px=64",
                                              "model.image.width_px=32",  "model.image.patch_px=16",
                                              "model.image.width=32",     "model.image.layers=2",
                                              "model.image.heads=2",      "model.text.width=32",
                                              "model.text.layers=2",      "model.text.heads=2",
                                              "model.text.vocab_size=40", "model.text.context_length=9",
                                              "model.dropout=0.2",        "model.text.attention_dropout=0.2",
                                              "train.batch=12",           "optim.lr=0.01",
                                              "optim.warmup_steps=0",     "optim.clip_norm=1",
                                              "train.bucket_mib=1",       NULL};
    set_up_config(s, assignments);
    set_all(s, more);
    set_up_model(s, precision, 2, tdm_trainer_rows(&s->config, tdm_comm_size(comm)));
    set_up_trainer(s);
}

static void check(const char *precision, const char *const *more)
{
    piece *p;
    setup s;
    tdm_step_report report;
    CHECK_OK(TDM_ALLOC(1, &p));
    make_piece(p, B / tdm_comm_size(comm));
    set_up(&s, precision, more);
    for (int i = 0; i < WARMUP; i++) CHECK_OK(tdm_trainer_step(s.trainer, &p->batch, &report));
    const int64_t blocks = tdm_memory_used().blocks, primitives = tdm_ops_primitives();
    atomic_store(&large_blocks, 0);
    atomic_store(&largest, 0);
    atomic_store(&counting, true);
    for (int i = 0; i < STEPS; i++) CHECK_OK(tdm_trainer_step(s.trainer, &p->batch, &report));
    atomic_store(&counting, false);
    if (tdm_comm_rank(comm) == 0)
        print_message("%s %s: %lld blocks, %lld primitives, %d large mallocs (up to %zu bytes) in %d steps\n",
                      precision, more[0] ? more[0] : "", (long long)(tdm_memory_used().blocks - blocks),
                      (long long)(tdm_ops_primitives() - primitives), atomic_load(&large_blocks),
                      atomic_load(&largest), STEPS);
    CHECK_EQ(tdm_memory_used().blocks, blocks);
    CHECK_EQ(tdm_ops_primitives(), primitives);
    if (tdm_comm_size(comm) == 1) CHECK_EQ(atomic_load(&large_blocks), 0); /* MPI may take what it needs */
    tear_down(&s);
    tdm_free(p);
}

static const char *const plain[] = {NULL};
static const char *const block[] = {"train.recompute=block", "train.chunk=5", NULL};
static const char *const chunk[] = {"train.recompute=chunk", "train.chunk=5", "model.image.patch_dropout=0.5",
                                    NULL};
static const char *const resnet[] = {"model.image.tower=resnet", "model.image.width=8", "model.image.heads=4",
                                     "model.image.stage_layers=[1, 1, 2, 1]", NULL};

static void check_all(const char *precision)
{
    check(precision, plain);
    check(precision, block);
    check(precision, chunk);
    check(precision, resnet);
}

static void test_f32(void **state)
{
    (void)state;
    check_all("f32");
}

static void test_bf16(void **state)
{
    (void)state;
    tdm_dtype dtype;
    if (tdm_ops_resolve_precision("bf16", &dtype) != TDM_OK) SKIP("this CPU has no bf16");
    check_all("bf16");
    setenv("TANDEM_MATMUL", "dnnl", 1);
    check_all("bf16");
    unsetenv("TANDEM_MATMUL");
}

int main(int argc, char **argv)
{
    if (tdm_register_options() != TDM_OK || tdm_comm_create(&argc, &argv, &comm) != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tdm_comm_destroy(&comm);
    tdm_config_unregister_all();
    return failed;
}
