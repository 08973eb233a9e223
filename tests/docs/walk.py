#!/usr/bin/env python3
"""Follows docs/adding.md: does what it says lead to a passing test, and a wrong sign to the message? The new files are
compiled and linked with the objects of a build, beside copies of the folders that the page changes; nothing is written
into the sources.

    walk.py BINARY_DIR [SOURCE_DIR]

A fenced block that names a file (```c src/loss/NAME.c) is that file when it is new, else it goes above the file's last
lines. A diff adds its lines behind the one that it shows. Golden files of objectives need a Python with torch and h5py
(TANDEM_PYTHON); without, the test must ask for one."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

BINARY = os.path.abspath(sys.argv[1])
SOURCE = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), "..", ".."))
PYTHON = os.environ.get("TANDEM_PYTHON", "python3")


def blocks():
    with open(os.path.join(SOURCE, "docs", "adding.md"), encoding="utf-8") as page:
        return re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", page.read(), re.M | re.S)


def edit(path, change):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    changed = change(text)
    assert changed != text, f"docs/adding.md: its change does not fit {path}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(changed)


def apply(root, kind, name, text):
    path = os.path.join(root, name)
    if kind == "diff":
        lines = text.splitlines()
        shown = lines[0][1:]
        new = "".join(line[1:] + "\n" for line in lines if line.startswith("+"))
        edit(path, lambda old: old.replace(shown + "\n", shown + "\n" + new, 1))
    elif os.path.exists(path):
        edit(path, lambda old: old.replace("\nif __name__", "\n" + text + "\n\nif __name__", 1))
    else:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return done.returncode, done.stdout


def must(*command, **options):
    code, output = run(*command, **options)
    if code:
        sys.exit(f"{' '.join(command)[:400]}\n{output}")


def compile_folder(root, folder, new):
    """Objects of the new file and of the file that expands the changed table."""
    with open(os.path.join(BINARY, "compile_commands.json"), encoding="utf-8") as file:
        commands = {entry["file"]: entry for entry in json.load(file)}
    folder_path = os.path.join(root, folder)
    table = next(t for k, t, _ in blocks() if k == "diff" and os.path.dirname(t) == folder)
    expands = [f for f in sorted(os.listdir(folder_path))
               if f.endswith(".c") and f'#include "{os.path.basename(table)}"' in open(os.path.join(folder_path, f)).read()]
    objects = []
    like = commands[os.path.join(SOURCE, folder, expands[0])]
    for name in [os.path.basename(new), *expands]:
        objects.append(os.path.join(root, name + ".o"))
        command = like["command"].replace(os.path.join(SOURCE, folder) + " ", folder_path + " ").split()
        command[command.index("-o") + 1], command[-1] = objects[-1], os.path.join(folder_path, name)
        must(*command, cwd=like["directory"])
    return objects


def link(root, area, test, objects):
    directory = os.path.join(BINARY, "tests", area)
    with open(os.path.join(directory, "CMakeFiles", test + ".dir", "link.txt"), encoding="utf-8") as file:
        command = file.read().split()
    command[command.index("-o") + 1] = os.path.join(root, test)
    must(*command[:1], *objects, *command[1:], cwd=directory)
    return os.path.join(root, test)


def main():
    if not os.path.exists(os.path.join(BINARY, "tests", "loss", "CMakeFiles", "test_losses.dir", "link.txt")):
        print("skipped: the build was not made by Makefiles")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as root:
        for folder in ("src/loss", "src/image", "tests/golden"):
            shutil.copytree(os.path.join(SOURCE, folder), os.path.join(root, folder), symlinks=True)
        for block in blocks():
            apply(root, *block)
        golden = os.path.join(root, "tests", "golden")
        environment = dict(os.environ, TANDEM_SOURCE_DIR=root, OMP_NUM_THREADS="1")

        must("python3", os.path.join(golden, "augment", "channels.py"))
        objects = compile_folder(root, "src/image", "src/image/augment_channels.c")
        must(link(root, "image", "test_image_augment", objects), env=environment)
        print("the augmentation: passed")

        has_torch = run(PYTHON, "-c", "import torch, h5py")[0] == 0
        if has_torch:
            must(PYTHON, os.path.join(golden, "make_loss_golden.py"), "alignment")
        test = link(root, "loss", "test_losses", compile_folder(root, "src/loss", "src/loss/alignment.c"))
        code, output = run(test, env=environment)
        wanted = "OK ] test_golden" if has_torch else "loss.alignment has no golden file"
        if "OK ] test_table" not in output or "\nloss.alignment\n" not in output or wanted not in output:
            sys.exit(f"{output}\ntest_losses returned {code}")
        edit(os.path.join(root, "src/loss/alignment.c"), lambda old: old.replace("dt[k] -=", "dt[k] +="))
        test = link(root, "loss", "test_losses", compile_folder(root, "src/loss", "src/loss/alignment.c"))
        code, output = run(test, env=environment)
        if code == 0 or "loss.alignment: text.plain: slope" not in output:
            sys.exit(f"{output}\na wrong sign was not found: test_losses returned {code}")
        print("the objective: passed" + ("" if has_torch else ", without its golden file: no Python with torch and h5py"))


main()
