/* Models that are not CLIP, or not as Tandem builds it, by the names of their tensors. A further one is a row. */
#include "weights_file.h"

#include <string.h>

static const struct {
    const char *part; /* of a tensor's name, after a prefix that wraps the model */
    bool whole;       /* says so, though all parts of a CLIP are there, too */
    const char *what, *remedy;
} kinds[] = {
    {"lora_A", true, "a LoRA adapter (PEFT)",
     "merge it into its base model: merge_and_unload(), then save_pretrained()"},
    {"lora_B", true, "a LoRA adapter (PEFT)",
     "merge it into its base model: merge_and_unload(), then save_pretrained()"},
    {"lora_down", true, "a LoRA adapter", "merge it into its base model first"},
    {"text_decoder.", true, "a CoCa, which has a text decoder and attentional pooling",
     "import a CLIP of open_clip's"},
    {"vision_model.head.probe", true, "a SigLIP, whose towers have no class token and pool by attention",
     "import a CLIP, and train it with the sigmoid loss: loss.siglip"},
    {"visual.trunk.attn_pool.", true, "a SigLIP, whose towers have no class token and pool by attention",
     "import a CLIP, and train it with the sigmoid loss: loss.siglip"},
    {"visual.trunk.", true, "an open_clip model whose image tower is one of timm's",
     "import one with CLIP's own towers"},
    {"visual.attn_pool.", true, "an open_clip model with attentional pooling",
     "import one with CLIP's own towers"},
    {"text.transformer.embeddings.", true, "an open_clip model whose text tower is one of Hugging Face's",
     "import one with CLIP's own towers"},
    {"visual.patch_embed.proj.", true, "an EVA-CLIP, whose image tower is not CLIP's",
     "import one with CLIP's own towers"},
    {"text_model.encoder.layer.", true, "a CLIP whose text tower is a BERT, as Chinese-CLIP",
     "import one with CLIP's own towers"},
    {"text_encoder.", false, "a model with other towers, as BLIP or ALBEF", "import a CLIP"},
    {"qformer.", false, "a BLIP-2", "import a CLIP"},
    {"patch_embed.proj.", false, "an image model of timm's", "import a CLIP"},
    {"word_embeddings.weight", false, "a text model, as BERT", "import a CLIP"},
    {"layer1.0.conv1.weight", false, "a ResNet without a text tower", "import a CLIP"},
    {"exp_avg", false, "the state of an optimiser", "import the file of weights beside it"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static bool is_ignored(const tdm_strings *ignore, const char *name)
{
    for (int64_t i = 0; i < ignore->count; i++) {
        if (strncmp(name, ignore->item[i], strlen(ignore->item[i])) == 0) return true;
    }
    return false;
}

tdm_status refuse_other_model(const weights_file *src, bool whole)
{
    const size_t prefix = strlen(src->prefix);
    size_t kind = KINDS;
    const char *found = NULL;
    for (int64_t t = 0; t < tdm_tensor_file_count(src->file); t++) {
        const char *name = tdm_tensor_file_at(src->file, t)->name;
        if (strncmp(name, src->prefix, prefix) != 0 || is_ignored(src->ignore, name)) continue;
        for (size_t i = 0; i < kind; i++) {
            if ((whole && !kinds[i].whole) || strstr(name + prefix, kinds[i].part) == NULL) continue;
            kind = i;
            found = name;
        }
    }
    TDM_REQUIRE(kind == KINDS, TDM_E_FORMAT, "%s: is %s (%.200s): %s", src->path, kinds[kind].what, found,
                kinds[kind].remedy);
    return TDM_OK;
}
