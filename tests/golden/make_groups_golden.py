#!/usr/bin/env python3
"""Makes groups_golden.h: torch.optim.AdamW with parameter groups, a frozen parameter and clipping, over five steps.

    python3 make_groups_golden.py > groups_golden.h

Parameters: matrix [2][3] at lr and with decay, head [4][2] at 10 lr and with decay, bias [3] at lr / 4 without decay,
frozen [5]. Gradients are (k·step mod 7 - 3) / 4 in element k, counted over all parameters. clip_grad_norm_ sees only
those that require a gradient.
"""

import torch

LR, DECAY, CLIP, STEPS = 0.01, 0.2, 0.5, 5
SIZES = {"matrix": 6, "head": 8, "bias": 3, "frozen": 5}

start = {name: torch.tensor([((5 * k + len(name)) % 11 - 5) / 8 for k in range(n)], dtype=torch.float32)
         for name, n in SIZES.items()}
parameter = {name: torch.nn.Parameter(value.clone(), requires_grad=name != "frozen") for name, value in start.items()}
optimizer = torch.optim.AdamW(
    [dict(params=[parameter["matrix"]], lr=LR, weight_decay=DECAY),
     dict(params=[parameter["head"]], lr=10 * LR, weight_decay=DECAY),
     dict(params=[parameter["bias"]], lr=LR / 4, weight_decay=0.0)],
    betas=(0.9, 0.98), eps=1e-6, foreach=False)
norms = []
for step in range(1, STEPS + 1):
    k = 0
    for name, n in SIZES.items():
        grad = torch.tensor([((k + i) * step % 7 - 3) / 4 for i in range(n)], dtype=torch.float32)
        parameter[name].grad = grad if parameter[name].requires_grad else None
        k += n
    norms.append(torch.nn.utils.clip_grad_norm_(parameter.values(), CLIP).item())
    optimizer.step()

print("/* Made by make_groups_golden.py with PyTorch; do not edit. */")
print("#ifndef TANDEM_GROUPS_GOLDEN_H\n#define TANDEM_GROUPS_GOLDEN_H\n")


def array(name, values):
    print(f"static const float groups_{name}[] = {{" + ", ".join(f"{v:#.9g}F" for v in values) + "};")


array("norm", norms)
for name, value in parameter.items():
    array(name, value.detach().tolist())
print("\n#endif")
