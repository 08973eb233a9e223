"""CLIP's two towers as a small PyTorch module with open_clip's state-dict names.

The architecture is that of "Learning Transferable Visual Models From Natural Language Supervision"
(Radford et al., 2021): pre-LayerNorm transformers, a class token and ln_pre in the image tower, causal
attention and end-of-text pooling in the text tower, learned logit_scale. `check_against_openai` compares it
with the published code.
"""

import importlib.util
import math
import pathlib

import torch
import torch.nn.functional as F
from torch import nn


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quickgelu": QuickGELU, "gelu": nn.GELU}


class Attention(nn.Module):
    """Multi-head self-attention under nn.MultiheadAttention's parameter names."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x, causal):
        n, s, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (t.view(n, s, self.heads, -1).transpose(1, 2) for t in qkv.chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).reshape(n, s, width))


class Block(nn.Module):
    def __init__(self, width, heads, activation):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", ACTIVATIONS[activation]())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))

    def forward(self, x, causal):
        x = x + self.attn(self.ln_1(x), causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, activation):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, activation) for _ in range(layers))

    def forward(self, x, causal):
        for block in self.resblocks:
            x = block(x, causal)
        return x


class ImageTower(nn.Module):
    def __init__(self, height, width_px, patch, width, layers, heads, embed, activation):
        super().__init__()
        tokens = (height // patch) * (width_px // patch) + 1
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, heads, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed))

    def forward(self, image):
        x = self.conv1(image).flatten(2).transpose(1, 2)
        cls = self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([cls, x], dim=1) + self.positional_embedding.to(x.dtype))
        x = self.transformer(x, causal=False)
        return self.ln_post(x[:, 0]) @ self.proj


class CLIP(nn.Module):
    def __init__(self, *, embed, height, width_px, patch, image, context, vocab, text, activation="quickgelu"):
        """image and text: (width, layers, heads)."""
        super().__init__()
        self.visual = ImageTower(height, width_px, patch, *image, embed, activation)
        width, layers, heads = text
        self.transformer = Transformer(width, layers, heads, activation)
        self.token_embedding = nn.Embedding(vocab, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context, width))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, embed))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_image(self, image):
        return self.visual(image)

    def encode_text(self, token):
        """token [n][context], zeros after the end-of-text token, which is the largest id."""
        x = self.token_embedding(token) + self.positional_embedding
        x = self.ln_final(self.transformer(x, causal=True))
        return x[torch.arange(x.shape[0]), token.argmax(dim=-1)] @ self.text_projection

    def forward(self, image, token):
        return contrastive_logits(self.encode_image(image), self.encode_text(token), self.logit_scale)


def contrastive_logits(image_features, text_features, logit_scale):
    image_features = image_features / image_features.norm(dim=1, keepdim=True)
    text_features = text_features / text_features.norm(dim=1, keepdim=True)
    logits = logit_scale.exp() * image_features @ text_features.t()
    return logits, logits.t()


def load_openai_module(clip_repo):
    """clip/model.py of a clone of github.com/openai/CLIP, without the rest of that package."""
    path = pathlib.Path(clip_repo) / "clip" / "model.py"
    spec = importlib.util.spec_from_file_location("openai_clip_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_against_openai(clip_repo, clip, *, embed, height, width_px, patch, image, context, vocab, text,
                         activation, pixels, token):
    """Largest difference between the features of `clip` and of the published code with the same weights.

    The published constructor knows square images and 64-wide heads only: its own classes are put together
    with the head counts wanted, and take a positional embedding of the grid wanted.
    """
    published = load_openai_module(clip_repo)
    width, layers, heads = text
    other = published.CLIP(embed, patch * 2, 1, 64, patch, context, vocab, width, heads, layers)
    other.visual = published.VisionTransformer(patch * 2, patch, *image, embed)
    tokens = (height // patch) * (width_px // patch) + 1
    other.visual.positional_embedding = nn.Parameter(torch.empty(tokens, image[0]))
    if activation == "gelu":
        for block in [*other.visual.transformer.resblocks, *other.transformer.resblocks]:
            block.mlp.gelu = nn.GELU()
    other.load_state_dict(clip.state_dict())
    with torch.no_grad():
        image_difference = (other.encode_image(pixels) - clip.encode_image(pixels)).abs().max()
        text_difference = (other.encode_text(token) - clip.encode_text(token)).abs().max()
    return max(image_difference.item(), text_difference.item())
