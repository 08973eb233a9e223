/* Import and export: round trips, wrappers and other namings, architectures read from shapes, what differs.
 */
#include "check.h"
#include "convert_case.h"

#include <math.h>

static const tdm_import_options import_defaults = {
    .from = "", .prefix = "", .tokenizer = "", .model = "", .out = "", .activation = "", .resize = ""};
static const tdm_export_options export_defaults = {
    .model = "", .to = "", .naming = "open_clip", .dtype = "f32"};

static tdm_status import_to(const char *from, const char *out)
{
    tdm_import_options options = import_defaults;
    options.from = from;
    options.out = at(out);
    options.force = true;
    return tdm_import(&options);
}

/* What an import that succeeds says; the caller frees. */
static char *log_of(const tdm_import_options *options)
{
    char *text = calloc(1, 8192);
    FILE *file = tmpfile();
    CHECK_NOT_NULL(text);
    CHECK_NOT_NULL(file);
    fflush(stderr);
    const int kept = dup(STDERR_FILENO);
    CHECK_GE(dup2(fileno(file), STDERR_FILENO), 0);
    const tdm_status status = tdm_import(options);
    CHECK_GE(dup2(kept, STDERR_FILENO), 0);
    close(kept);
    rewind(file);
    (void)!fread(text, 1, 8191, file);
    fclose(file);
    CHECK_EQ(status, TDM_OK);
    return text;
}

static tdm_status export_to(const char *model, const char *naming, const char *dtype, const char *to)
{
    tdm_export_options options = export_defaults;
    options.model = at(model);
    options.naming = naming;
    options.dtype = dtype;
    options.to = at(to);
    options.force = true;
    return tdm_export(&options);
}

/* The model groups are the same but for the name and what a file cannot say. */
static void assert_same_model(const tdm_config *a, const tdm_config *b)
{
    const tdm_tower_config *x = &a->model.image, *y = &b->model.image;
    CHECK_EQ(a->model.embed_dim, b->model.embed_dim);
    CHECK_EQ(a->model.activation, b->model.activation);
    CHECK_STR_EQ(x->tower, y->tower);
    for (int text = strcmp(x->tower, "resnet") == 0; text < 2; text++) {
        x = text ? &a->model.text : &a->model.image, y = text ? &b->model.text : &b->model.image;
        CHECK_EQ(x->width, y->width);
        CHECK_EQ(x->layers, y->layers);
        CHECK_EQ(x->heads, y->heads);
        CHECK_EQ(x->mlp_ratio, y->mlp_ratio);
    }
    if (strcmp(a->model.image.tower, "resnet") == 0) {
        CHECK_EQ(a->model.image.width, b->model.image.width);
        CHECK_EQ(a->model.image.heads, b->model.image.heads);
        CHECK_MEM_EQ(a->model.image.stage_layers, b->model.image.stage_layers,
                     sizeof a->model.image.stage_layers);
    } else {
        CHECK_EQ(a->model.image.patch_px, b->model.image.patch_px);
    }
    CHECK_EQ(a->model.image.height_px, b->model.image.height_px);
    CHECK_EQ(a->model.image.width_px, b->model.image.width_px);
    CHECK_STR_EQ(a->model.image.resize, b->model.image.resize);
    CHECK_MEM_EQ(a->model.image.mean, b->model.image.mean, sizeof a->model.image.mean);
    CHECK_MEM_EQ(a->model.image.std, b->model.image.std, sizeof a->model.image.std);
    CHECK_EQ(a->model.text.context_length, b->model.text.context_length);
    CHECK_EQ(a->model.text.vocab_size, b->model.text.vocab_size);
}

static void assert_same_weights(const tdm_params *a, const tdm_params *b)
{
    CHECK_EQ(a->total, b->total);
    CHECK_EQ(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        CHECK_STR_EQ(a->row[i].name, b->row[i].name);
        if (memcmp(a->weight + a->row[i].offset, b->weight + b->row[i].offset,
                   sizeof(float) * (size_t)a->row[i].size) != 0)
            fail_msg("%s differs", a->row[i].name);
    }
}

static void assert_same_checkpoint(const char *a, const char *b)
{
    weights x, y;
    checkpoint_load(a, &x);
    checkpoint_load(b, &y);
    assert_same_model(&x.config, &y.config);
    assert_same_weights(&x.params, &y.params);
    weights_free(&x);
    weights_free(&y);
}

static void assert_same_file(const char *a, const char *b)
{
    tdm_text x = {0}, y = {0};
    CHECK_OK(tdm_read_file(a, &x));
    CHECK_OK(tdm_read_file(b, &y));
    CHECK_EQ(x.length, y.length);
    CHECK_MEM_EQ(x.data, y.data, x.length);
    tdm_text_free(&x);
    tdm_text_free(&y);
}

/* ---- Round trips ---- */

/* Everything that differs from the defaults: heads that are not 64 wide, odd MLPs, gelu, own colours. */
static const char odd_model[] =
    "model.image.heads=4 model.text.heads=2 model.image.mlp_ratio=3.5 model.text.mlp_ratio=2 "
    "model.activation=gelu model.image.mean=[0.5,0.25,0.125] model.image.std=[0.25,0.3,0.35] "
    "model.image.resize=squash";

static void test_round_trips(void **state)
{
    (void)state;
    static const char *const namings[] = {"open_clip", "huggingface"};
    checkpoint_make(odd_model, "odd");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(export_to("odd", namings[i], "f32", "first"));
        CHECK_OK(import_to(at("first"), "back"));
        assert_same_checkpoint("odd", "back");
        CHECK_OK(export_to("back", namings[i], "f32", "second/model.safetensors"));
        assert_same_file(at("first/model.safetensors"), at("second/model.safetensors"));
        CHECK_OK(tdm_remove_tree(at("first")));
        CHECK_OK(tdm_remove_tree(at("second")));
    }
}

/* A ResNet's parameters, running statistics and counters; Hugging Face's CLIPModel has none. */
static void test_resnet(void **state)
{
    (void)state;
    weights w;
    checkpoint_make(
        "model.image.tower=resnet model.image.height_px=64 model.image.width_px=96 model.image.width=8 "
        "model.image.stage_layers=[1,2,1,1] model.image.heads=8",
        "resnet");
    CHECK_OK(export_to("resnet", "open_clip", "f32", "first"));
    tensor_box *box = box_read(at("first/model.safetensors"));
    const tdm_tensor_out *counter = &box->tensor[box_find(box, "visual.layer2.1.bn3.num_batches_tracked")];
    CHECK_EQ(counter->type, TDM_TENSOR_I64);
    CHECK_EQ(counter->ndim, 0);
    box_free(box);
    CHECK_OK(import_to(at("first"), "back"));
    assert_same_checkpoint("resnet", "back");
    CHECK_OK(export_to("back", "open_clip", "f32", "second"));
    assert_same_file(at("first/model.safetensors"), at("second/model.safetensors"));
    CHECK_FAILS(export_to("resnet", "huggingface", "f32", "nowhere"), TDM_E_CONFIG,
                "knows vision transformers only");
    CHECK_OK(tdm_remove_tree(at("first")));
    CHECK_OK(tdm_remove_tree(at("second")));

    /* shapes alone: 64 columns a head of the pooling */
    checkpoint_make(
        "model.image.tower=resnet model.image.height_px=64 model.image.width_px=64 model.image.width=4 "
        "model.image.stage_layers=[2,1,3,1] model.image.heads=2",
        "resnet");
    CHECK_OK(export_to("resnet", "open_clip", "f32", "first"));
    CHECK_OK(tdm_remove_tree(at("first/open_clip_config.json")));
    CHECK_OK(import_to(at("first"), "back"));
    assert_same_checkpoint("resnet", "back");
    checkpoint_load("back", &w);
    CHECK_EQ(w.config.model.image.stage_layers[2], 3);
    CHECK_EQ(w.config.model.image.heads, 2);
    weights_free(&w);
    CHECK_OK(tdm_remove_tree(at("first")));
}

/* A head's rows keep their names under open_clip; a model definition says that they are there. */
static void test_head(void **state)
{
    (void)state;
    static const char definition[] =
        "embed_dim = 24; image: { head = \"adapter\"; height_px = 32; width_px = 32; patch_px = 8; width = 64; "
        "layers = 2; heads = 1; }; text: { width = 64; layers = 3; heads = 1; context_length = 16; "
        "vocab_size = 518; };";
    tdm_import_options options = import_defaults;
    char from[300], model[300];
    checkpoint_make("model.image.head=adapter", "headed");
    CHECK_OK(export_to("headed", "open_clip", "f32", "first"));
    tensor_box *box = box_read(at("first/model.safetensors"));
    CHECK_EQ(box->tensor[box_find(box, "visual_head.fc1.weight")].shape[0], 24 / 4);
    box_free(box);
    CHECK_OK(tdm_write_file_atomic(at("headed.cfg"), definition, sizeof definition - 1));
    snprintf(from, sizeof from, "%s", at("first"));
    snprintf(model, sizeof model, "%s", at("headed.cfg"));
    options.from = from;
    options.model = model;
    options.out = at("back");
    options.force = true;
    CHECK_OK(tdm_import(&options));
    assert_same_checkpoint("headed", "back");
    CHECK_FAILS(export_to("headed", "huggingface", "f32", "nowhere"), TDM_E_CONFIG,
                "model.image.head is \"adapter\": Hugging Face's CLIPModel has no heads");
    CHECK_OK(tdm_remove_tree(at("first")));
}

/* The tokenizer goes out and comes back with the same ids. */
static void test_tokenizer(void **state)
{
    (void)state;
    static const char *const namings[] = {"open_clip", "huggingface"};
    static const char *const texts[] = {"abc ab bc", "A red  bus, isn't it?", "", "caf\xC3\xA9 42 abcabc"};
    tdm_tokenizer *original = NULL;
    CHECK_OK(tdm_tokenizer_open_memory("merges", convert_merges, sizeof convert_merges - 1, &original));
    checkpoint_make("", "tiny");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(export_to("tiny", namings[i], "f32", "folder"));
        CHECK_TRUE(tdm_path_exists(at("folder/vocab.json")));
        CHECK_OK(import_to(at("folder"), "back"));
        tdm_tokenizer *tokenizer = NULL;
        tdm_config config = {0};
        CHECK_OK(tdm_config_init(&config));
        CHECK_OK(tdm_checkpoint_read_config(at("back"), &config, &tokenizer, NULL));
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            int32_t token[2][16];
            int64_t count[2] = {0};
            CHECK_OK(tdm_tokenizer_encode(original, texts[k], 16, token[0], &count[0], NULL));
            CHECK_OK(tdm_tokenizer_encode(tokenizer, texts[k], 16, token[1], &count[1], NULL));
            CHECK_EQ(count[0], count[1]);
            CHECK_MEM_EQ(token[0], token[1], sizeof token[0][0] * (size_t)count[0]);
        }
        CHECK_EQ(tdm_tokenizer_vocab_size(tokenizer), CONVERT_VOCAB);
        CHECK_EQ(tdm_tokenizer_end(tokenizer), CONVERT_VOCAB - 1);
        tdm_tokenizer_destroy(&tokenizer);
        tdm_config_destroy(&config);
        CHECK_OK(tdm_remove_tree(at("folder")));
    }
    tdm_tokenizer_destroy(&original);
}

static void test_half_precision(void **state)
{
    (void)state;
    static const struct {
        const char *dtype;
        double error;
    } types[] = {{"bf16", 1.0 / 256}, {"f16", 1.0 / 2048}}; /* half a unit in the last place */
    weights exact, rounded;
    checkpoint_make("", "tiny");
    checkpoint_load("tiny", &exact);
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(export_to("tiny", "huggingface", types[i].dtype, "half"));
        CHECK_OK(import_to(at("half/model.safetensors"), "back"));
        checkpoint_load("back", &rounded);
        for (int64_t k = 0; k < exact.params.total; k++) {
            const double a = exact.params.weight[k], b = rounded.params.weight[k];
            if (!(fabs(a - b) <= types[i].error * fabs(a) + 1e-7))
                fail_msg("%s: %g became %g", types[i].dtype, a, b);
        }
        weights_free(&rounded);
    }
    weights_free(&exact);
}

/* ---- Other names ---- */

/* visual and logit_scale as `prefix` says, the text tower under `text`. */
static void rename_all(tensor_box *box, const char *prefix, const char *text)
{
    for (int64_t i = 0; i < box->count; i++) {
        char old[256];
        snprintf(old, sizeof old, "%s", box->name[i]);
        const bool shared = strncmp(old, "visual.", 7) == 0 || strcmp(old, "logit_scale") == 0;
        snprintf(box->name[i], sizeof box->name[i], "%s%s%.200s", prefix, shared ? "" : text, old);
    }
}

static void test_wrapped_names(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *text, *beside[3];
    } cases[] = {
        {"module.", "", {"module.visual.bn.num_batches_tracked", NULL}},
        {"state_dict.module.", "", {"optimizer.state.0.exp_avg", "epoch", NULL}},
        {"", "", {"input_resolution", "context_length", "vocab_size"}},
        {"", "text.", {"text.attn_mask", NULL}},
        {"model.", "encode_text.", {"model.simclr_mlp.0.weight", "model.mlm_head.fc.bias", "optimizer.x"}},
    };
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tensor_box *box = box_read(at("plain/model.safetensors"));
        rename_all(box, cases[i].prefix, cases[i].text);
        for (size_t k = 0; k < 3 && cases[i].beside[k] != NULL; k++)
            box_add(box, cases[i].beside[k], TDM_TENSOR_I64, 0, NULL);
        box_write(box, at("wrapped.safetensors"));
        box_free(box);
        CHECK_OK(import_to(at("wrapped.safetensors"), "back"));
        assert_same_checkpoint("tiny", "back");
    }
}

/* The tensors of `file` behind a prefix. */
static void box_add_all(tensor_box *box, const char *prefix, const tensor_box *more, float factor)
{
    for (int64_t i = 0; i < more->count; i++) {
        char name[256];
        const tdm_tensor_out *from = &more->tensor[i];
        snprintf(name, sizeof name, "%s%.200s", prefix, more->name[i]);
        const int64_t at = box->count;
        box_add(box, name, from->type, from->ndim, from->shape);
        int64_t elements = 1;
        for (int d = 0; d < from->ndim; d++) elements *= from->shape[d];
        for (int64_t k = 0; k < elements; k++) box->data[at][k] = factor * more->data[i][k];
    }
}

static tensor_box *box_new(void)
{
    tensor_box *box = NULL;
    CHECK_OK(TDM_ALLOC(1, &box));
    return box;
}

/* A prefix is what stands before the names of a model, whatever it is. */
static void test_any_prefix(void **state)
{
    (void)state;
    static const char *const prefixes[] = {
        "base_model.",
        "clip_model.",
        "student.",
        "net.backbone.",
        "_orig_mod.module.",
        "ema.0.weird name.",
        "a.very.long.way.down.to.the.model.that.nobody.would.have.put.into.a.list.of.wrappers."};
    static const char *const namings[] = {"open_clip", "huggingface"};
    checkpoint_make("", "tiny");
    for (size_t n = 0; n < 2; n++) {
        CHECK_OK(export_to("tiny", namings[n], "f32", "plain"));
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
            tensor_box *plain = box_read(at("plain/model.safetensors")), *box = box_new();
            box_add_all(box, prefixes[i], plain, 1.0f);
            box_add(box, "head.weight", TDM_TENSOR_F32, 1, (int64_t[]){3}); /* beside the model */
            box_write(box, at("prefixed.safetensors"));
            box_free(box);
            box_free(plain);
            CHECK_OK(import_to(at("prefixed.safetensors"), "back"));
            assert_same_checkpoint("tiny", "back");
        }
        CHECK_OK(tdm_remove_tree(at("plain")));
    }
}

static tdm_status import_by_prefix(const char *from, const char *prefix)
{
    tdm_import_options options = import_defaults;
    options.from = from;
    options.prefix = prefix;
    options.out = at("back");
    options.force = true;
    return tdm_import(&options);
}

/* logit_scale of "back" over that of "tiny": which of several models was taken. */
static float factor_of_back(void)
{
    weights one, back;
    checkpoint_load("tiny", &one);
    checkpoint_load("back", &back);
    const float factor = back.params.weight[tdm_params_find(&back.params, "logit_scale")->offset] /
                         one.params.weight[tdm_params_find(&one.params, "logit_scale")->offset];
    weights_free(&one);
    weights_free(&back);
    return factor;
}

static void test_several_models(void **state)
{
    (void)state;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    tensor_box *plain = box_read(at("plain/model.safetensors")), *box = box_new();
    box_add_all(box, "student.", plain, 1.0f);
    box_add_all(box, "teacher.", plain, 2.0f);
    box_add(box, "teacher_head.weight", TDM_TENSOR_F32, 1, (int64_t[]){3});
    box_write(box, at("two.safetensors"));
    box_free(box);
    char message[256];
    snprintf(
        message, sizeof message,
        "holds 2 models, choose one: --prefix student. (%lld tensors, open_clip's names), --prefix teacher. (%lld tensors",
        (long long)plain->count, (long long)plain->count);
    CHECK_FAILS(import_by_prefix(at("two.safetensors"), ""), TDM_E_USAGE, message);
    CHECK_OK(import_by_prefix(at("two.safetensors"), "teacher."));
    CHECK_EQ(factor_of_back(), 2.0f);
    CHECK_OK(import_by_prefix(at("two.safetensors"), "stud"));
    CHECK_EQ(factor_of_back(), 1.0f);
    CHECK_FAILS(import_by_prefix(at("two.safetensors"), "model."), TDM_E_USAGE,
                "holds no model under --prefix model.; there are --prefix student.");

    /* one that stands without a prefix, and one within it */
    box = box_new();
    box_add_all(box, "", plain, 1.0f);
    box_add_all(box, "module.", plain, 4.0f);
    box_write(box, at("two.safetensors"));
    box_free(box);
    CHECK_FAILS(import_by_prefix(at("two.safetensors"), ""), TDM_E_USAGE, "choose one: --prefix . (");
    CHECK_OK(import_by_prefix(at("two.safetensors"), "module."));
    CHECK_EQ(factor_of_back(), 4.0f);
    box_free(plain);
}

/* An averaged copy is taken by choice. */
static void test_average(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *average, *wish;
    } cases[] = {{"state_dict.module.", "state_dict_ema.module.", "state_dict_ema"},
                 {"model.", "ema.", "ema."},
                 {"model.", "model_ema.module.", "model_ema."}};
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "huggingface", "f32", "plain"));
    tensor_box *plain = box_read(at("plain/model.safetensors"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tensor_box *box = box_new();
        box_add_all(box, cases[i].average, plain, 2.0f);
        box_write(box, at("ema.safetensors"));
        CHECK_OK(import_by_prefix(at("ema.safetensors"), "")); /* alone, it is the model */
        CHECK_EQ(factor_of_back(), 2.0f);
        box_add_all(box, cases[i].plain, plain, 1.0f);
        box_write(box, at("ema.safetensors"));
        box_free(box);
        CHECK_OK(import_by_prefix(at("ema.safetensors"), ""));
        CHECK_EQ(factor_of_back(), 1.0f);
        CHECK_OK(import_by_prefix(at("ema.safetensors"), cases[i].wish));
        CHECK_EQ(factor_of_back(), 2.0f);
    }
    box_free(plain);
}

static void keep_only(tensor_box *box, const char *begin, bool keep)
{
    for (int64_t i = box->count; i-- > 0;) {
        char name[256];
        snprintf(name, sizeof name, "%s", box->name[i]);
        if ((strncmp(name, begin, strlen(begin)) == 0) != keep) box_remove(box, name);
    }
}

/* What is no whole CLIP is named as what it is, though parts of it look like one. */
static void test_other_models(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *message;
    } cases[] = {
        {"base_model.model.visual.transformer.resblocks.0.attn.out_proj.lora_A.default.weight",
         "is a LoRA adapter (PEFT)"},
        {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "is a LoRA adapter"},
        {"text_decoder.resblocks.0.ln_1.weight", "is a CoCa"},
        {"visual.attn_pool.query", "with attentional pooling"},
        {"vision_model.head.probe", "is a SigLIP"},
        {"visual.trunk.attn_pool.latent", "is a SigLIP"},
        {"visual.trunk.blocks.0.norm1.weight", "image tower is one of timm's"},
        {"text.transformer.embeddings.word_embeddings.weight", "text tower is one of Hugging Face's"},
        {"visual.patch_embed.proj.weight", "is an EVA-CLIP"},
        {"text_model.encoder.layer.0.attention.self.query.weight", "whose text tower is a BERT"},
    };
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int alone = 0; alone < 2; alone++) {
            tensor_box *box = alone ? box_new() : box_read(at("plain/model.safetensors"));
            box_add(box, cases[i].tensor, TDM_TENSOR_F32, 1, (int64_t[]){3});
            box_write(box, at("other.safetensors"));
            box_free(box);
            CHECK_FAILS(import_to(at("other.safetensors"), "none"), TDM_E_FORMAT, cases[i].message);
            CHECK_MESSAGE(cases[i].tensor);
        }
    }
    static const struct {
        const char *tensor, *message;
    } alone[] = {
        {"visual_encoder.cls_token", NULL}, /* nothing that is known */
        {"text_encoder.encoder.layer.0.x", "as BLIP or ALBEF"},
        {"patch_embed.proj.weight", "is an image model of timm's"},
        {"embeddings.word_embeddings.weight", "is a text model"},
        {"layer1.0.conv1.weight", "is a ResNet without a text tower"},
        {"state.0.exp_avg", "is the state of an optimiser"},
    };
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++) {
        tensor_box *box = box_new();
        box_add(box, alone[i].tensor, TDM_TENSOR_F32, 1, (int64_t[]){3});
        box_write(box, at("other.safetensors"));
        box_free(box);
        CHECK_FAILS(import_to(at("other.safetensors"), "none"), TDM_E_FORMAT,
                    alone[i].message ? alone[i].message : "holds no CLIP model under the names of");
    }
    CHECK_FALSE(tdm_path_exists(at("none/model.h5")));
}

static void test_single_towers(void **state)
{
    (void)state;
    static const struct {
        const char *naming, *image;
    } cases[] = {{"open_clip", "visual."}, {"huggingface", "vision_model."}};
    checkpoint_make("", "tiny");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(export_to("tiny", cases[i].naming, "f32", "plain"));
        for (int text = 0; text < 2; text++) {
            tensor_box *box = box_read(at("plain/model.safetensors"));
            keep_only(box, cases[i].image, !text);
            if (text && i == 1) box_remove(box, "visual_projection.weight");
            box_write(box, at("tower.safetensors"));
            box_free(box);
            CHECK_FAILS(import_to(at("tower.safetensors"), "none"), TDM_E_FORMAT,
                        text ? "holds a text tower only (" : "holds an image tower only (");
            CHECK_MESSAGE(text ? "and no image tower: import the whole model" : "and no text tower");
        }
        CHECK_OK(tdm_remove_tree(at("plain")));
    }
    /* both, apart from each other */
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    tensor_box *box = box_read(at("plain/model.safetensors"));
    for (int64_t i = 0; i < box->count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s.%.200s", strncmp(box->name[i], "visual.", 7) ? "t" : "i",
                 box->name[i]);
        snprintf(box->name[i], sizeof box->name[i], "%.255s", name);
    }
    box_write(box, at("tower.safetensors"));
    box_free(box);
    CHECK_FAILS(import_to(at("tower.safetensors"), "none"), TDM_E_FORMAT, "do not stand under one prefix");
}

/* The message about extra tensors holds the options that leave them out; with these it goes through. */
static void test_ignore_suggestion(void **state)
{
    (void)state;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    tensor_box *plain = box_read(at("plain/model.safetensors")), *box = box_new();
    box_add_all(box, "model.", plain, 1.0f);
    box_add(box, "model.logit_bias", TDM_TENSOR_F32, 0, NULL);
    box_add(box, "model.head.0.weight", TDM_TENSOR_F32, 1, (int64_t[]){3});
    box_add(box, "model.head.0.bias", TDM_TENSOR_F32, 1, (int64_t[]){3});
    box_write(box, at("extra.safetensors"));
    CHECK_FAILS(
        import_to(at("extra.safetensors"), "back"), TDM_E_SHAPE,
        "3 extra (model.logit_bias, model.head.0.weight, model.head.0.bias); to leave out what is extra: "
        "--ignore model.logit_bias --ignore model.head.");
    tdm_import_options options = import_defaults;
    options.from = at("extra.safetensors");
    options.out = at("back");
    options.force = true;
    options.ignore = (tdm_strings){.item = (const char *[]){"model.logit_bias", "model.head."}, .count = 2};
    CHECK_OK(tdm_import(&options));
    assert_same_checkpoint("tiny", "back");

    /* without a part of a tower, it would be another model */
    box_add(box, "model.visual.transformer.resblocks.0.ls_1.gamma", TDM_TENSOR_F32, 1, (int64_t[]){64});
    box_write(box, at("extra.safetensors"));
    CHECK_FAILS(import_to(at("extra.safetensors"), "back"), TDM_E_SHAPE, "4 extra (");
    CHECK_LACKS(tdm_error_last()->message, "--ignore");
    box_free(box);
    box_free(plain);
}

/* Weights do not say their activation: a warning, but for models that are known to have OpenAI's. */
static void test_activation_is_unknown(void **state)
{
    (void)state;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    static const struct {
        const char *prefix, *text, *beside;
        bool warns, by_option;
    } cases[] = {{"state_dict.module.", "", "epoch", true, false},
                 {"", "", NULL, true, false},
                 {"", "", NULL, false, true},
                 {"", "", "input_resolution", false, false},
                 {"model.", "encode_text.", NULL, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tensor_box *box = box_read(at("plain/model.safetensors"));
        rename_all(box, cases[i].prefix, cases[i].text);
        if (cases[i].beside != NULL) box_add(box, cases[i].beside, TDM_TENSOR_I64, 0, NULL);
        box_write(box, at("quiet.safetensors"));
        box_free(box);
        tdm_import_options options = import_defaults;
        options.from = at("quiet.safetensors");
        options.out = at("back");
        options.activation = cases[i].by_option ? "gelu" : "";
        options.force = true;
        char *log = log_of(&options);
        CHECK_EQ(strstr(log, "warning: ") != NULL && strstr(log, "say the activation") != NULL,
                 cases[i].warns);
        free(log);
    }
}

static void test_huggingface_spellings(void **state)
{
    (void)state;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "huggingface", "f32", "hf"));
    tensor_box *box = box_read(at("hf/model.safetensors"));
    box_rename(box, "vision_model.pre_layrnorm.weight", "vision_model.pre_layernorm.weight");
    box_rename(box, "vision_model.pre_layrnorm.bias", "vision_model.pre_layernorm.bias");
    box_add(box, "vision_model.embeddings.position_ids", TDM_TENSOR_I64, 2, (int64_t[]){1, 17});
    box_add(box, "text_model.embeddings.position_ids", TDM_TENSOR_I64, 2, (int64_t[]){1, 16});
    rename_all(box, "clip.", "");
    box_write(box, at("spelled.safetensors"));
    box_free(box);
    CHECK_OK(import_to(at("spelled.safetensors"), "back"));
    assert_same_checkpoint("tiny", "back");
}

/* Transformers leaves its defaults out of config.json, and files of 2022 say some things twice. */
static void test_huggingface_config(void **state)
{
    (void)state;
    weights w;
    checkpoint_make("model.image.heads=2 model.text.heads=8 model.activation=gelu", "tiny");
    CHECK_OK(export_to("tiny", "huggingface", "f32", "hf"));
    static const char config[] =
        "{\"model_type\": \"clip\", \"projection_dim\": 24, \"text_config\": {\"hidden_size\": 64,"
        "\"intermediate_size\": 256, \"num_hidden_layers\": 3, \"vocab_size\": 518, \"hidden_act\": "
        "\"quick_gelu\","
        "\"max_position_embeddings\": 16, \"eos_token_id\": 2}, \"text_config_dict\": {\"hidden_act\": "
        "\"gelu\"},"
        "\"vision_config\": {\"hidden_size\": 64, \"intermediate_size\": 256, \"num_hidden_layers\": 2,"
        "\"num_attention_heads\": 2, \"image_size\": 32, \"patch_size\": 8, \"hidden_act\": \"gelu\"}}";
    CHECK_OK(tdm_write_file_atomic(at("hf/config.json"), config, sizeof config - 1));
    CHECK_OK(import_to(at("hf"), "back"));
    checkpoint_load("back", &w);
    CHECK_EQ(w.config.model.text.heads, 8); /* Transformers' default */
    CHECK_EQ(w.config.model.image.heads, 2);
    CHECK_EQ(w.config.model.activation, tdm_option_choice(TDM_ACTIVATION_CHOICES, "gelu"));
    weights_free(&w);

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{\"model_type\": \"clip\", \"projection_dim\": 24}",
         "model.image.height_px is 32 by its shapes, 224 by"},
        {"{\"model_type\": \"clip\", \"text_config\": {\"hidden_act\": \"relu\"}}",
         "text_config.hidden_act is \"relu\""},
        {"{\"model_type\": \"clip\", \"vision_config\": {\"layer_norm_eps\": 1e-6}}", "layer_norm_eps"},
        {"{\"model_type\": \"clip\", ", "config.json:1: "},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "config.json: is a Git LFS pointer"},
        {"{\"vision_cfg\": {\"image_size\": [9223372036854775807, -1], \"width\": 1e300, \"layers\": [1]}, "
         "\"text_cfg\": {\"heads\": 7}}",
         "model.text.width = 64 is not divisible by model.text.heads = 7"},
        {"{\"vision_cfg\": {\"timm_model_name\": \"vit\"}, \"text_cfg\": {}}", "vision_cfg.timm_model_name"},
        {"{\"vision_cfg\": {}, \"text_cfg\": {\"pool_type\": \"last\"}}", "text_cfg.pool_type"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_OK(tdm_write_file_atomic(at("hf/config.json"), bad[i].text, strlen(bad[i].text)));
        const tdm_status status = import_to(at("hf"), "back");
        CHECK_TRUE(status == TDM_E_CONFIG || status == TDM_E_FORMAT);
        CHECK_MESSAGE(bad[i].message);
    }
}

/* ---- Architectures from shapes alone ---- */

/* ViT-B/32, B/16 and L/14 with the widths of a toy. */
static void test_architectures(void **state)
{
    (void)state;
    static const struct {
        const char *settings;
        int64_t patch, layers, width, heads;
    } cases[] = {
        {"model.image.height_px=224 model.image.width_px=224 model.image.patch_px=32 model.image.layers=12",
         32, 12, 64, 1},
        {"model.image.height_px=224 model.image.width_px=224 model.image.patch_px=16 model.image.width=128 "
         "model.image.heads=2 model.image.layers=3 model.text.context_length=77",
         16, 3, 128, 2},
        {"model.image.height_px=224 model.image.width_px=224 model.image.patch_px=14 model.image.width=192 "
         "model.image.heads=3 model.image.layers=6 model.image.mlp_ratio=1 model.embed_dim=96",
         14, 6, 192, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weights w;
        checkpoint_make(cases[i].settings, "shaped");
        CHECK_OK(export_to("shaped", i % 2 ? "huggingface" : "open_clip", "f32", "export"));
        CHECK_OK(tdm_remove_tree(at("alone.safetensors")));
        CHECK_EQ(rename(at("export/model.safetensors"), at("alone.safetensors")), 0);
        CHECK_OK(import_to(at("alone.safetensors"), "back"));
        assert_same_checkpoint("shaped", "back");
        checkpoint_load("back", &w);
        CHECK_EQ(w.config.model.image.height_px, 224);
        CHECK_EQ(w.config.model.image.patch_px, cases[i].patch);
        CHECK_EQ(w.config.model.image.layers, cases[i].layers);
        CHECK_EQ(w.config.model.image.width, cases[i].width);
        CHECK_EQ(w.config.model.image.heads, cases[i].heads);
        CHECK_STR_EQ(w.config.model.name, "alone");
        weights_free(&w);
        CHECK_OK(tdm_remove_tree(at("export")));
    }
}

/* What shapes cannot say: heads of other widths, oblong images. */
static void test_unknown_architectures(void **state)
{
    (void)state;
    weights w;
    checkpoint_make("model.image.width=96 model.image.heads=3", "odd");
    CHECK_OK(export_to("odd", "open_clip", "f32", "folder"));
    CHECK_OK(tdm_remove_tree(at("folder/open_clip_config.json")));
    CHECK_FAILS(import_to(at("folder"), "back"), TDM_E_CONFIG,
                "model.image.heads: 96 columns are no multiple of 64");
    CHECK_OK(tdm_remove_tree(at("folder")));

    checkpoint_make("model.image.height_px=48 model.image.width_px=16", "oblong");
    CHECK_OK(export_to("oblong", "open_clip", "f32", "folder"));
    CHECK_OK(import_to(at("folder"), "back"));
    assert_same_checkpoint("oblong", "back");
    CHECK_OK(tdm_remove_tree(at("folder/open_clip_config.json")));
    CHECK_FAILS(import_to(at("folder"), "back"), TDM_E_CONFIG, "patches make no square");
    tdm_import_options options = import_defaults;
    options.from = at("folder");
    options.out = at("back");
    options.force = true;
    options.height_px = 48;
    options.width_px = 16;
    CHECK_OK(tdm_import(&options));
    assert_same_checkpoint("oblong", "back");
    options.height_px = options.width_px = 32;
    CHECK_FAILS(tdm_import(&options), TDM_E_SHAPE, "has 12 patches, which make no square");
    CHECK_OK(tdm_remove_tree(at("folder")));

    /* as many patches as a square, but a configuration says otherwise */
    checkpoint_make("model.image.height_px=64 model.image.width_px=16", "oblong");
    CHECK_OK(export_to("oblong", "open_clip", "f32", "folder"));
    CHECK_OK(import_to(at("folder"), "back"));
    checkpoint_load("back", &w);
    CHECK_EQ(w.config.model.image.height_px, 64);
    weights_free(&w);
    CHECK_OK(tdm_remove_tree(at("folder")));
}

/* ---- Another size ---- */

static const tdm_param *row_of(const weights *w, const char *name)
{
    const tdm_param *row = tdm_params_find(&w->params, name);
    CHECK_NOT_NULL(row);
    return row;
}

static void test_other_sizes(void **state)
{
    (void)state;
    weights old, new;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "huggingface", "f32", "hf"));
    checkpoint_load("tiny", &old);
    tdm_import_options options = import_defaults;
    options.from = at("hf");
    options.out = at("back");
    options.force = true;
    options.height_px = 64;
    options.width_px = 24;
    options.context_length = 21;
    options.resize = "tbps_clip";
    CHECK_OK(tdm_import(&options));
    checkpoint_load("back", &new);
    float image[(1 + 8 * 3) * 64], text[21 * 64];
    const float *from = old.params.weight + row_of(&old, "visual.positional_embedding")->offset;
    CHECK_OK(tdm_resize_image_positions("tbps_clip", 4, 4, 8, 3, 64, from, image));
    from = old.params.weight + row_of(&old, "positional_embedding")->offset;
    CHECK_OK(tdm_resize_text_positions("tbps_clip", 16, 21, 64, from, text));
    CHECK_MEM_EQ(new.params.weight + row_of(&new, "visual.positional_embedding")->offset, image,
                 sizeof image);
    CHECK_MEM_EQ(new.params.weight + row_of(&new, "positional_embedding")->offset, text, sizeof text);
    const int64_t last = row_of(&new, "text_projection")->offset,
                  before = row_of(&old, "text_projection")->offset;
    CHECK_MEM_EQ(new.params.weight + last, old.params.weight + before, 64 * 24 * sizeof(float));
    weights_free(&old);
    weights_free(&new);
}

/* ---- What differs is listed ---- */

static void test_differences(void **state)
{
    (void)state;
    static const char definition[] =
        "name = \"other\"; embed_dim = 24; image: { height_px = 32; width_px = 32; patch_px = 16; width = "
        "64; layers = 2; "
        "heads = 1; }; text: { context_length = 16; vocab_size = 518; width = 64; layers = 2; heads = 1; };";
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    tensor_box *box = box_read(at("plain/model.safetensors"));
    box_remove(box, "ln_final.bias");
    box_remove(box, "visual.transformer.resblocks.1.attn.out_proj.weight");
    box_add(box, "logit_bias", TDM_TENSOR_F32, 1, (int64_t[]){1});
    box->tensor[box_find(box, "visual.ln_post.bias")].type = TDM_TENSOR_I64;
    box->tensor[box_find(box, "visual.proj")].shape[0] = 24;
    box->tensor[box_find(box, "visual.proj")].shape[1] = 64;
    box_write(box, at("bad.safetensors"));
    CHECK_FAILS(import_to(at("bad.safetensors"), "back"), TDM_E_SHAPE,
                "2 missing (visual.transformer.resblocks.1.attn.out_proj.weight, ln_final.bias), 1 extra "
                "(logit_bias), "
                "2 of another shape or type (visual.ln_post.bias is I64 [64], expected floating-point [64], "
                "visual.proj is F32 [24, 64], expected [64, 24])");
    box_free(box);
    CHECK_FALSE(tdm_path_exists(at("back2/model.h5")));

    CHECK_OK(tdm_write_file_atomic(at("other.cfg"), definition, sizeof definition - 1));
    tdm_import_options options = import_defaults;
    options.from = at("plain");
    options.out = at("back2");
    options.model = at("other.cfg");
    CHECK_FAILS(tdm_import(&options), TDM_E_SHAPE, "12 extra (transformer.resblocks.2.ln_1.weight");
    CHECK_MESSAGE("visual.conv1.weight is F32 [64, 3, 8, 8], expected [64, 3, 16, 16]");
    options.ignore.count = 1;
    options.ignore.item = (const char *[]){"transformer.resblocks.2."};
    CHECK_FAILS(tdm_import(&options), TDM_E_SHAPE, "model's: 1 of another shape");
    CHECK_FALSE(tdm_path_exists(at("back2/model.h5")));
}

static void test_huggingface_differences(void **state)
{
    (void)state;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "huggingface", "f32", "hf"));
    tensor_box *box = box_read(at("hf/model.safetensors"));
    box_remove(box, "text_model.encoder.layers.0.self_attn.k_proj.bias");
    box_remove(box, "text_projection.weight");
    box_add(box, "text_projection.weight", TDM_TENSOR_F32, 2, (int64_t[]){24, 65});
    box_remove(box, "vision_model.encoder.layers.1.self_attn.v_proj.weight");
    box_add(box, "vision_model.encoder.layers.1.self_attn.v_proj.weight", TDM_TENSOR_F32, 2,
            (int64_t[]){32, 64});
    box_write(box, at("hf/model.safetensors"));
    CHECK_FAILS(import_to(at("hf"), "back"), TDM_E_SHAPE,
                "1 missing (text_model.encoder.layers.0.self_attn.k_proj.bias)");
    CHECK_MESSAGE("text_projection.weight is F32 [24, 65], expected [64, 24] transposed");
    CHECK_MESSAGE("expected [192, 64] in three parts");
    box_free(box);
}

/* More names than a message holds: the counts, the first names, and all of them in the log. */
static void test_many_differences(void **state)
{
    (void)state;
    checkpoint_make("model.image.layers=12", "deep");
    CHECK_OK(export_to("deep", "open_clip", "f32", "plain"));
    tensor_box *box = box_read(at("plain/model.safetensors"));
    for (int layer = 1; layer < 12; layer++) {
        static const char *const names[] = {"ln_2.weight", "ln_2.bias", "mlp.c_fc.bias", "mlp.c_proj.bias"};
        for (size_t i = 0; i < 4; i++) {
            char name[128];
            snprintf(name, sizeof name, "visual.transformer.resblocks.%d.%s", layer, names[i]);
            box_remove(box, name);
        }
    }
    box_write(box, at("plain/model.safetensors"));
    box_free(box);
    CHECK_FAILS(import_to(at("plain"), "back"), TDM_E_SHAPE,
                "44 missing (visual.transformer.resblocks.1.ln_2.weight, ");
    CHECK_LT(strlen(tdm_error_last()->message), 900);
}

static void test_refusals(void **state)
{
    (void)state;
    weights w;
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "open_clip", "f32", "plain"));
    tensor_box *box = box_read(at("plain/model.safetensors"));
    box->data[box_find(box, "visual.proj")][5] = NAN;
    box_write(box, at("nan.safetensors"));
    CHECK_FAILS(import_to(at("nan.safetensors"), "none"), TDM_E_NUMERIC,
                "visual.proj holds NaN at element 5");
    for (int64_t i = 0; i < box->count; i++) box->name[i][0] = 'X';
    box_write(box, at("names.safetensors"));
    CHECK_FAILS(import_to(at("names.safetensors"), "none"), TDM_E_FORMAT,
                "holds no CLIP model under the names of");
    box_free(box);
    CHECK_FAILS(import_to(at("absent"), "none"), TDM_E_IO, "absent");
    CHECK_FALSE(tdm_path_exists(at("none/model.h5")));

    tdm_import_options options = import_defaults;
    options.from = at("plain");
    options.out = at("tiny");
    CHECK_FAILS(tdm_import(&options), TDM_E_USAGE, "tiny/model.h5: is there already");

    tdm_export_options out = export_defaults;
    out.model = at("tiny");
    out.to = at("plain");
    CHECK_FAILS(tdm_export(&out), TDM_E_USAGE, "is there already");
    out.naming = "tbps_clip";
    CHECK_FAILS(tdm_export(&out), TDM_E_USAGE, "no naming \"tbps_clip\" to write");
    checkpoint_make("model.image.height_px=48 model.image.width_px=16", "oblong");
    CHECK_FAILS(export_to("oblong", "huggingface", "f32", "nowhere"), TDM_E_CONFIG, "square ones only");
    weights_create("", &w);
    w.params.weight[row_of(&w, "visual.proj")->offset] = 1e5f;
    checkpoint_write(&w, "large");
    weights_free(&w);
    CHECK_FAILS(export_to("large", "open_clip", "f16", "nowhere"), TDM_E_NUMERIC, "visual.proj holds 100000");
    CHECK_FALSE(tdm_path_exists(at("nowhere/model.safetensors")));
}

/* Other commands want a checkpoint, and say how these weights become one. */
static void test_import_is_suggested(void **state)
{
    (void)state;
    char dir[CONVERT_PATH];
    checkpoint_make("", "tiny");
    CHECK_OK(export_to("tiny", "huggingface", "f32", "hf"));
    CHECK_FAILS(tdm_checkpoint_find(at("hf"), true, dir, sizeof dir), TDM_E_IO,
                "become one by tandem import");
    CHECK_FAILS(tdm_checkpoint_find(at("hf/model.safetensors"), true, dir, sizeof dir), TDM_E_IO,
                "become one by tandem import");
    CHECK_FAILS(tdm_checkpoint_find(at("hf/merges.txt"), true, dir, sizeof dir), TDM_E_IO,
                "is not a checkpoint");
    CHECK_LACKS(tdm_error_last()->message, "import");
    CHECK_FAILS(export_to("hf", "open_clip", "f32", "nowhere"), TDM_E_IO, "become one by tandem import");
}

/* A clone without Git LFS: any of the folder's files may be a pointer. */
static void test_lfs_pointers(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
    static const char *const names[] = {"hf/model.safetensors", "hf/config.json",
                                        "hf/preprocessor_config.json", "hf/merges.txt", "hf/vocab.json"};
    checkpoint_make("", "tiny");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK_OK(export_to("tiny", "huggingface", "f32", "hf"));
        CHECK_OK(tdm_write_file_atomic(at(names[i]), pointer, sizeof pointer - 1));
        CHECK_FAILS(import_to(at("hf"), "none"), TDM_E_FORMAT, names[i]);
        CHECK_MESSAGE("is a Git LFS pointer, not the file itself");
    }
    CHECK_OK(tdm_remove_tree(at("hf")));
}

/* Nothing is written, not even the folder, when a value cannot be. */
static void test_export_not_finite(void **state)
{
    (void)state;
    static const struct {
        float value;
        const char *dtype, *message;
    } cases[] = {
        {NAN, "f32", "visual.proj holds NaN at element 3"},
        {NAN, "f16", "visual.proj holds NaN at element 3"},
        {-INFINITY, "bf16", "visual.proj holds an infinity at element 3"},
        {3.4e38f, "bf16", "visual.proj holds 3.4e+38, which bf16 cannot; export it as f32"},
        {65505.0f, "f16", "visual.proj holds 65505, which f16 cannot; export it as f32 or bf16"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weights w;
        weights_create("", &w);
        w.params.weight[row_of(&w, "visual.proj")->offset + 3] = cases[i].value;
        checkpoint_write(&w, "bad");
        weights_free(&w);
        CHECK_FAILS(export_to("bad", i % 2 ? "huggingface" : "open_clip", cases[i].dtype, "nowhere"),
                    TDM_E_NUMERIC, cases[i].message);
        CHECK_FALSE(tdm_path_exists(at("nowhere")));
    }
}

/* A tokenizer.json of another model would be read in place of vocab.json and merges.txt, here and in Transformers. */
static void test_export_beside_others(void **state)
{
    (void)state;
    static const char *const names[] = {"taken/tokenizer.json", "taken/open_clip_model.safetensors"};
    checkpoint_make("", "tiny");
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(tdm_make_dirs(at("taken")));
        CHECK_OK(tdm_write_file_atomic(at(names[i]), "{}", 2));
        CHECK_FAILS(export_to("tiny", "huggingface", "f32", "taken"), TDM_E_USAGE, names[i]);
        CHECK_MESSAGE("would be read in place of what is written beside it");
        CHECK_OK(tdm_remove_tree(at("taken")));
    }
    CHECK_OK(export_to("tiny", "open_clip", "f32", "taken/open_clip_model.safetensors"));
    CHECK_OK(
        export_to("tiny", "open_clip", "f32", "taken/open_clip_model.safetensors")); /* itself, by --force */
    CHECK_OK(tdm_remove_tree(at("taken")));
}

int main(void)
{
    if (tdm_model_register() != TDM_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_resnet),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_half_precision),
        cmocka_unit_test(test_wrapped_names),
        cmocka_unit_test(test_any_prefix),
        cmocka_unit_test(test_several_models),
        cmocka_unit_test(test_average),
        cmocka_unit_test(test_other_models),
        cmocka_unit_test(test_single_towers),
        cmocka_unit_test(test_ignore_suggestion),
        cmocka_unit_test(test_activation_is_unknown),
        cmocka_unit_test(test_huggingface_spellings),
        cmocka_unit_test(test_huggingface_config),
        cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_unknown_architectures),
        cmocka_unit_test(test_other_sizes),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_huggingface_differences),
        cmocka_unit_test(test_many_differences),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_import_is_suggested),
        cmocka_unit_test(test_lfs_pointers),
        cmocka_unit_test(test_export_not_finite),
        cmocka_unit_test(test_export_beside_others),
    };
    return cmocka_run_group_tests(tests, convert_setup, convert_teardown);
}
