"""The released code of CLIP4CMR (github.com/zhixiongz/CLIP4CMR) for the scripts cmr_*.py, read from the history of a clone
and executed in memory. No commit of it trains or imports as it is, so each file comes from the last that runs:

    metrics.py, model.py   71ea13e
    evaluate.py            12d7e71, which still has calc_precision_at_K
    Proxy_NCA, Proxy_Anchor of metrics.py at d8b3901, the newest, with the end of a docstring that is missing there
"""
import os
import subprocess
import sys
import types

import torch
import torch.nn.functional as F

METRICS, EVALUATE, PROXIES = "71ea13e", "12d7e71", "d8b3901"


def clone_argument(parser):
    parser.add_argument("--cmr", default=os.environ.get("CLIP4CMR", ""), help="clone of github.com/zhixiongz/CLIP4CMR")


def require_clone(options):
    if not options.cmr:
        print("skipped: no --cmr, a clone of github.com/zhixiongz/CLIP4CMR")
        sys.exit(77)


def source(clone, commit, path):
    done = subprocess.run(["git", "-C", clone, "-c", "safe.directory=*", "show", f"{commit}:{path}"], capture_output=True)
    if done.returncode:
        sys.exit(f"{clone}: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def run(name, text, **known):
    module = types.ModuleType(name)
    module.__dict__.update(known)
    exec(compile(text, name, "exec"), module.__dict__)
    return module


def metrics(clone):
    # calcneg walks rows with Python's max and min, element by element: the same values in one call
    return run("metrics.py", source(clone, METRICS, "metrics.py"), max=lambda row: row.max(), min=lambda row: row.min())


def proxies(clone):
    text = source(clone, PROXIES, "metrics.py")
    text = text[text.index("def Proxy_NCA"):]
    body = text.index("    P = torch.t(proxies)")
    return run("metrics.py", text[:body] + '    """\n' + text[body:], torch=torch, F=F)


def evaluate(clone):
    return run("evaluate.py", source(clone, EVALUATE, "evaluate.py"))


def model(clone):
    """model.py with stand-ins for the packages that it imports and never uses."""
    for name, members in (("torchvision", ("models",)), ("clip", ()),
                          ("torchvision.models", ("alexnet", "resnet18", "resnet50", "inception_v3", "vgg19")),
                          ("transformers", ("BertConfig", "BertTokenizer", "BertModel"))):
        sys.modules[name] = types.ModuleType(name)
        for member in members:
            setattr(sys.modules[name], member, None)
    return run("model.py", source(clone, METRICS, "model.py"))
