#!/usr/bin/env python3
"""Training by the two recipes of TBPS-CLIP: Tandem's losses, step by step, against the released code's.

    python3 tests/reference/tbps_curve.py --tbps CLONE [--tandem build/tandem] [--ranks 1,2] [--steps 100]

CLONE is a clone of github.com/Flame-Chasers/TBPS-CLIP. Its towers (small), CLIP.forward, build_optimizer and
cosine_scheduler train in PyTorch, all rows on one process, in f32. Tandem trains by conf/tbps/tbps_clip.cfg and
simplified.cfg with smaller towers, without dropout and without random augmentation: in place of it each view is turned
in a way of its own. Weights, samples and their order are the same: the released code's first weights are imported from a
.pth, and both sides start from Tandem's checkpoint one step later, which holds the SimCLR head, too. The order is computed
here once more from its definition (training.py). Exit code 1 when a loss differs by more than --limit. Needs torch,
numpy, h5py and pillow; says so and ends with 77 when one is missing."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from tbps_losses import import_released, namespace  # noqa: E402  (ends with 77 without torch)
from training import SEED, epoch_order, make_pictures, read_shards, relative  # noqa: E402
import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EMBED, PX, PATCH, CONTEXT, VOCAB = 64, 64, 16, 32, 600
IMAGE, TEXT = dict(width=128, layers=3, heads=2), dict(width=128, layers=2, heads=2)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BATCH, EPOCHS, WARMUP_EPOCHS = 16, 5, 1
VIEWS = {"image": [], "aug1": [3], "aug_ss_1": [2], "aug_ss_2": [2, 3]}  # axes of [n][3][height][width] that are turned
TURNS = {"aug_1": [], "aug_2": ["flip(p=1)"], "ss_1": ["vflip(p=1)"], "ss_2": ["flip(p=1)", "vflip(p=1)"]}
RECIPES = {"tbps_clip": dict(ss=True, citc=True, mvs_image=True), "simplified": dict(ss=False, citc=False, mvs_image=False)}


# ---- The released code ----

def released_config(recipe, args):
    experiment = dict(id=False, mlm=False, ritc=True, back_trans=False, eda_alpha=0.0, dropout=0.0, text_length=CONTEXT,
                      simclr_mlp=(EMBED, 128, EMBED), simclr_temperature=0.1, ss_ratio=0.4, nitc_ratio=1.0, citc_ratio=0.1,
                      citc_lambda1=0.25, citc_lambda2=0.25, ritc_ratio=1.0, ritc_eps=1e-2, input_resolution=(PX, PX))
    experiment.update(RECIPES[recipe])
    per_epoch = args.steps // EPOCHS
    schedule = dict(lr=args.lr, lr_start=0.01 * args.lr, lr_end=0.05 * args.lr, epoch=EPOCHS, epoch_warmup=WARMUP_EPOCHS,
                    weight_decay=0.02, betas=[0.9, 0.98], eps=1e-8, niter_per_ep=per_epoch)
    return namespace(device="cpu", model=namespace(embed_dim=EMBED, use_gather=False, softlabel_ratio=0.5),
                     experiment=namespace(**experiment), schedule=namespace(**schedule))


def make_released(released, config, vocab):
    from model.text_transformer import TextTransformer
    from model.visual_transformer import VisualTransformer
    image = VisualTransformer(input_resolution=(PX, PX), patch_size=PATCH, embed_dim=EMBED, checkpoint=False, **IMAGE)
    text = TextTransformer(config, EMBED, CONTEXT, TEXT["width"], TEXT["heads"], TEXT["layers"], True, False)
    text.token_embedding = torch.nn.Embedding(vocab, TEXT["width"])  # theirs has 49,408 rows, whatever the tokenizer
    torch.nn.init.normal_(text.token_embedding.weight, std=0.02)
    return released.CLIP(config, image, text, eps=config.experiment.ritc_eps)


def their_name(row):
    """The released code's name of a row of Tandem's, None: it has none such in this recipe."""
    for ours, theirs in (("loss.simclr.image.fc1.", "simclr_mlp.0."), ("loss.simclr.image.fc2.", "simclr_mlp.2.")):
        if row.startswith(ours):
            return row.replace(ours, theirs)
    return row if row.startswith("visual.") or row == "logit_scale" else "encode_text." + row


def load_weights(model, rows):
    state = model.state_dict()
    for row, value in rows.items():
        if their_name(row) in state:
            state[their_name(row)] = torch.tensor(value).reshape(state[their_name(row)].shape)
    model.load_state_dict(state)


def train_released(released, model, config, data, steps):
    from misc.build import build_optimizer, cosine_scheduler
    images, captions, identities = data
    optimizer = build_optimizer(config, model)  # before train(), which freezes conv1
    model.train()
    rates, per_epoch, losses = cosine_scheduler(config), config.schedule.niter_per_ep, []
    for step in range(steps):
        epoch, i = divmod(step, per_epoch)
        if i == 0:
            order = epoch_order(len(captions), SEED, epoch)
        rows = order[i * BATCH:][:BATCH]
        for group in optimizer.param_groups:
            group["lr"] = rates[step] * group["ratio"]
        alpha = config.model.softlabel_ratio * (min(1.0, i / per_epoch) if epoch == 0 else 1.0)
        batch = {view: images[rows].flip(axes) if axes else images[rows] for view, axes in VIEWS.items()}
        batch["caption"] = [captions[row] for row in rows]
        batch["caption_bt"], batch["id"] = list(batch["caption"]), identities[rows]
        loss = sum(model(batch, alpha).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


# ---- Tandem ----

def call(*words, **options):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def write_lists(folder, count):
    """TBPS-CLIP's lists; an identity is a shape in a colour. One test image, as both lists have to be there."""
    captions = [(folder / "raw" / f"{i:04d}.txt").read_text().strip() for i in range(count)]
    entry = lambda i: dict(file_path=f"raw/{i:04d}.png", id=i % 16, captions=[captions[i]])  # noqa: E731
    (folder / "train_reid.json").write_text(json.dumps([entry(i) for i in range(count - 1)]))
    (folder / "test_reid.json").write_text(json.dumps([dict(entry(count - 1), id=99)]))


def read_identities(folder):
    """In the order of the samples, which read_shards has too: an image has one caption."""
    found = []
    for path in sorted(folder.glob("train-*.h5")):
        with h5py.File(path) as shard:
            found += list(shard["image/identity"][:])
    return torch.tensor(np.array(found), dtype=torch.long)


def model_settings(folder, vocab):
    towers = {"image": dict(IMAGE, height_px=PX, width_px=PX, patch_px=PATCH),
              "text": dict(TEXT, context_length=CONTEXT, vocab_size=vocab, attention_dropout=0.0)}
    return [f"model.embed_dim={EMBED}", f"model.tokenizer={folder}/bpe.txt"] + \
        [f"model.{tower}.{key}={value}" for tower, keys in towers.items() for key, value in keys.items()]


def settings(folder, vocab, args, recipe):
    per_epoch = args.steps // EPOCHS
    chosen = [f"seed={SEED}", f"data.dir={folder}/data", "eval.dir=", "checkpoint.best_metric=", f"train.batch={BATCH}",
              f"train.epochs={EPOCHS}", f"train.chunk={args.chunk}", "train.precision=f32",
              "train.threads=1", "train.log_every=1",
              f"optim.lr={args.lr}", f"loss.infonce.pseudo_ramp_steps={per_epoch}"]
    if RECIPES[recipe]["ss"]:
        chosen.append(f"loss.simclr.out={EMBED}")
    for view, turns in TURNS.items():
        chosen.append(f"views.{view}.augment=[resize(interpolation=bilinear){''.join(', ' + t for t in turns)}]")
    return chosen + model_settings(folder, vocab) + args.set


def run_tandem(folder, vocab, args, recipe, ranks, start, more=()):
    """Losses, and the rows of the last checkpoint."""
    out = folder / f"{recipe}-{ranks}{'-first' if more else ''}"
    words = ["mpirun", "--oversubscribe", "-n", ranks, args.tandem, "train", "--config", ROOT / "conf/tbps" / f"{recipe}.cfg",
             "--out", out]
    for one in settings(folder, vocab, args, recipe) + [f"model.pretrained={start}", *more]:
        words += ["--set", one]
    call(*words)
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    return np.array(losses), read_rows(out), out


def read_rows(run):
    last = max((run / "checkpoints").glob("step-*"))
    with h5py.File(last / "model.h5") as file:
        return {name: item[()] for name, item in file["param"].items()}


def prepare(folder, released, args):
    """Data, tokenizer, the first weights in both programs. Returns data and rows of the start."""
    per_epoch = args.steps // EPOCHS
    make_pictures(folder / "raw", per_epoch * BATCH + 1, PX)
    write_lists(folder, per_epoch * BATCH + 1)
    call(args.tandem, "pack", "--format", "tbps_json", "--clean", "tbps", "--out", folder / "data", folder)
    call(args.tandem, "tokenizer", "--train", "--vocab-size", VOCAB, "--out", folder / "bpe.txt", folder / "data")
    pixels, captions = read_shards(folder / "data", MEAN, STD)
    ids = [list(map(int, line.split())) for line in
           call(args.tandem, "tokenize", "--tokenizer", folder / "bpe.txt", "--mask-token", "--context", CONTEXT,
                input="\n".join(captions) + "\n").splitlines()]
    vocab = max(map(max, ids)) + 1
    tokens = {caption: torch.tensor(row + [0] * (CONTEXT - len(row))) for caption, row in zip(captions, ids)}
    released.tokenize = lambda texts, context_length: torch.stack([tokens[text] for text in texts])
    torch.manual_seed(SEED)
    model = make_released(released, released_config("tbps_clip", args), vocab)
    model.logit_scale.data.fill_(args.logit_scale)
    torch.save({"model": model.state_dict(), "optimizer": None, "config": None}, folder / "checkpoint_best.pth")
    tower = "width = {width}; layers = {layers}; heads = {heads}; mlp_ratio = 4.0;"
    (folder / "model.cfg").write_text(f'''name = "reference"; embed_dim = {EMBED}; activation = "quickgelu";
image: {{ tower = "vit"; height_px = {PX}; width_px = {PX}; patch_px = {PATCH}; {tower.format(**IMAGE)} }};
text: {{ tower = "text"; context_length = {CONTEXT}; vocab_size = {vocab}; {tower.format(**TEXT)} }};
''')
    call(args.tandem, "import", "--from", folder / "checkpoint_best.pth", "--tokenizer", folder / "bpe.txt", "--model",
         folder / "model.cfg", "--out", folder / "init")
    for row, value in read_imported(folder / "init").items():
        assert np.array_equal(value.ravel(), model.state_dict()[their_name(row)].numpy().ravel()), row
    first = ["train.steps=1", "optim.warmup_epochs=0"]
    _, rows, start = run_tandem(folder, vocab, args, "tbps_clip", 1, folder / "init", first)
    return (pixels, captions, read_identities(folder / "data")), vocab, rows, start


def read_imported(folder):
    with h5py.File(next(folder.rglob("model.h5"))) as file:
        return {name: item[()] for name, item in file["param"].items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tbps", default=os.environ.get("TBPS_CLIP", ""))
    parser.add_argument("--tandem", default=os.environ.get("TANDEM", "build/tandem"))
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--steps", type=int, default=100, help="a multiple of the 5 epochs")
    parser.add_argument("--chunk", type=int, default=0, help="train.chunk")
    parser.add_argument("--lr", type=float, default=1e-4, help="peak; 1e-4 is the recipes'")
    parser.add_argument("--logit-scale", type=float, default=np.log(1 / 0.07),
                        help="at the start; CLIP's weights have ln 100")
    parser.add_argument("--set", action="append", default=[],
                        help="of tandem train, for instance to see that an error is found")
    parser.add_argument("--limit", type=float, default=1e-3, help="largest relative difference of a loss")
    args = parser.parse_args()
    if not args.tbps:
        print("skipped: no --tbps, a clone of github.com/Flame-Chasers/TBPS-CLIP")
        sys.exit(77)
    args.tandem = os.path.abspath(args.tandem)
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    released = import_released(args.tbps)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data, vocab, start_rows, start = prepare(folder, released, args)
        for recipe in args.recipes.split(","):
            config = released_config(recipe, args)
            model = make_released(released, config, vocab)
            load_weights(model, start_rows)
            theirs = train_released(released, model, config, data, args.steps)
            for ranks in map(int, args.ranks.split(",")):
                ours, rows, _ = run_tandem(folder, vocab, args, recipe, ranks, start)
                failed |= not report(recipe, ranks, ours, theirs, rows, model, args)
    sys.exit(failed)


def report(recipe, ranks, ours, theirs, rows, model, args):
    if len(ours) != len(theirs):
        print(f"{recipe}, {ranks} ranks: {len(ours)} losses, expected {len(theirs)}")
        return False
    difference = np.abs(ours - theirs) / np.abs(theirs)
    state = model.state_dict()
    apart = {row: relative(their_name(row), torch.tensor(value).reshape(state[their_name(row)].shape), state[their_name(row)])
             for row, value in rows.items()}
    worst = max(apart, key=apart.get)
    print(f"{recipe:12} {ranks} ranks, {args.steps} steps of {BATCH}: loss {theirs[0]:.4f} -> {theirs[-1]:.4f} (tandem "
          f"{ours[-1]:.4f}), largest relative difference {difference.max():.1e} (step {difference.argmax()}), first step "
          f"{difference[0]:.1e}; weights at the end: {worst} {apart[worst]:.1e}"
          + ("" if difference.max() <= args.limit else f"   above {args.limit:g}"), flush=True)
    return difference.max() <= args.limit


if __name__ == "__main__":
    main()
