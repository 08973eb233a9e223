#!/usr/bin/env python3
"""Checks every Markdown page of the repository against the repository and the binary. No network.

    pages.py TANDEM [ROOT]

- a relative link leads to a file, its #anchor to a heading of that file;
- what looks like a path of the repository (src/…, docs/…, ./check.sh) exists. A part in capitals stands for any
  name: src/loss/NAME.c needs some file src/loss/*.c. The same for pages that comments of the sources name;
- a command line `tandem CMD …` names an existing command and existing options, --set an existing key;
- what looks like a configuration key (train.batch) is one;
- what a page tells its reader to write (a fenced block with the name of a file that does not exist: ```c src/loss/NAME.c)
  need not exist, neither the file nor what else has its name: keys, golden files;
- every page in docs/ can be reached from README.md;
- the table of rooms in docs/design.md says what CMakeLists.txt says: which folder may see which.
"""
import glob
import os
import re
import subprocess
import sys

TANDEM = os.path.abspath(sys.argv[1])
ROOT = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), "..", ".."))
NOT_OURS = re.compile(r"build.*|runs|demo|\..*")  # made by builds and runs
FOLDERS = sorted(d for d in os.listdir(ROOT) if os.path.isdir(os.path.join(ROOT, d)) and not NOT_OURS.fullmatch(d))
FILES_AT_ROOT = r"(?:\./)?(?:check|quickstart)\.sh|CMakeLists\.txt|README\.md|CONTRIBUTING\.md"
PATH = re.compile(r"(?<![\w/.-])(?:\./)?((?:%s)/[\w./*{},-]*|%s)" % ("|".join(map(re.escape, FOLDERS)), FILES_AT_ROOT))
FILE_ENDINGS = "json|jsonl|html|h5|c|h|py|cfg|md|safetensors|txt|sh|log|inc|cmake"

problems = []


def problem(page, line, message):
    problems.append(f"{os.path.relpath(page, ROOT)}:{line}: {message}")


# ---- the binary ----


def help_of(*arguments):
    run = subprocess.run([TANDEM, *arguments, "--help"], capture_output=True, text=True, check=True)
    return run.stdout


COMMANDS = re.findall(r"^  [* ] ([a-z][\w-]*) ", help_of(), re.M)
OPTIONS = {c: set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(c))) for c in COMMANDS}
KEYS = set(re.findall(r"^  ([a-z][\w.]*) = ", help_of("train"), re.M))
GROUPS = {key.split(".")[0] for key in KEYS if "." in key}
KEY = re.compile(r"(?<![\w/.-])(?:%s)(?:\.[a-z_0-9]+)+" % "|".join(sorted(GROUPS)))


def is_key(name):
    return name in KEYS or any(key.startswith(name + ".") for key in KEYS)  # a key, or a group of keys


def check_command(page, number, text, made):
    """`text` is one command line, or a code span that begins with one."""
    for part in re.split(r"[|;&<>]", re.sub(r"(^|\s)#.*", "", text)):
        words = part.split()
        at = next((i for i, word in enumerate(words) if re.fullmatch(r"([^=]*/)?tandem", word)), None)
        if at is None or at + 1 == len(words) or words[0] == "make":
            continue
        command, rest = words[at + 1], words[at + 2 :]
        if command.startswith("-") or command == "…" or command.isupper():
            continue  # tandem --help, tandem COMMAND …
        if command not in COMMANDS:
            problem(page, number, f'"{text.strip()}": tandem has no command "{command}"')
            continue
        for i, word in enumerate(rest):
            option = word.strip("[]()…").split("=")[0]
            if re.fullmatch(r"--?[a-z][\w-]*", option) and option not in OPTIONS[command]:
                problem(page, number, f"tandem {command} has no option {option}")
            if option == "--set" and i + 1 < len(rest):
                key = rest[i + 1].strip("\"'").split("=")[0]
                if key.islower() and key != "group.key" and not is_key(key) and not names_one(key, made):
                    problem(page, number, f"--set {key}: there is no such key")


# ---- pages ----


def pages():
    for folder, folders, files in os.walk(ROOT):
        if folder == ROOT:
            folders[:] = [d for d in folders if not NOT_OURS.fullmatch(d)]
        yield from (os.path.join(folder, f) for f in sorted(files) if f.endswith(".md"))


def blocks(page):
    """(line number, text, is code) of every line; lines of code that end in a backslash are joined."""
    fenced, held, start, blank = False, "", 0, True
    with open(page, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if re.match(r" *```", line):
                fenced = not fenced
                continue
            code = fenced or (line.startswith("    ") and (blank or held))
            if not fenced:
                blank = not line.strip() or code
            if code and line.endswith("\\"):
                held, start = held + line[:-1], start or number
                continue
            yield (start or number, held + line, code or bool(held))
            held, start = "", 0


def anchor_of(heading):
    """As GitHub and GitLab make it: lower case, punctuation dropped, blanks to hyphens."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors(page):
    return {anchor_of(m[1]) for _, line, code in blocks(page) if not code and (m := re.match(r"#+ +(.*)", line))}


def exists(path):
    path = re.sub(r"[A-Z]{2,}(?:_[A-Z]+)*", "*", path) if not os.path.exists(os.path.join(ROOT, path)) else path
    alternatives = re.search(r"\{([^}]*)\}", path)
    if alternatives:
        return all(exists(path.replace(alternatives[0], one, 1)) for one in alternatives[1].split(","))
    return bool(glob.glob(os.path.join(ROOT, path)))


def made_names(page):
    """Of the entries that the page shows how to make."""
    with open(page, encoding="utf-8") as file:
        paths = re.findall(r"^ *```\w+ (\S+)$", file.read(), re.M)
    return {re.sub(r"^augment_", "", os.path.splitext(os.path.basename(p))[0]) for p in paths if not exists(p)}


def names_one(text, made):
    return any(re.search(rf"(?<![a-z]){name}(?![a-z])", text) for name in made)


def check_paths(page, number, text, made):
    for match in PATH.finditer(text):
        path = match[1].rstrip(".,")
        if not exists(path) and not names_one(path, made):
            problem(page, number, f"{path} does not exist")


def check_links(page, number, line):
    """Returns the pages that the line leads to."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", line) + re.findall(r'(?:src|href)="([^"]+)"', line):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(file):
            problem(page, number, f"link to {target}: no such file")
        elif file.endswith(".md"):
            found.append(file)
            if anchor and anchor not in anchors(file):
                problem(page, number, f"link to {target}: no such heading")
    return found


def check_page(page):
    leads_to, made = [], made_names(page)
    for number, line, code in blocks(page):
        if code:
            check_paths(page, number, line, made)
            check_command(page, number, line, made)
            continue
        leads_to += check_links(page, number, line)
        for span in re.findall(r"`([^`]+)`", line):
            check_paths(page, number, span, made)
            if span.startswith("tandem "):
                check_command(page, number, span, made)
            for key in KEY.findall(span):
                if not re.search(r"\.(?:%s)$" % FILE_ENDINGS, key) and not is_key(key) and not names_one(key, made):
                    problem(page, number, f"{key}: there is no such configuration key")
    return leads_to


def check_comments():
    """Pages that sources, scripts and configurations name."""
    for folder in FOLDERS:
        for path in glob.glob(os.path.join(ROOT, folder, "**", "*"), recursive=True):
            if not re.search(r"\.(c|h|inc|py|sh|cfg|cmake|txt|in|sbatch)$", path):
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    for page in re.findall(r"(?<![\w/.])(?:docs|bench)/\w+(?:-\w+)*\.md", line):
                        if not exists(page):
                            problem(path, number, f"{page} does not exist")


def check_rooms():
    with open(os.path.join(ROOT, "CMakeLists.txt"), encoding="utf-8") as file:
        declared = {}
        for name, rest in re.findall(r"^tandem_folder\((\w+)(.*?)\)$", file.read(), re.M | re.S):
            sees = re.search(r"\bSEES((?: \w+)*?) (?:HEADERS|LIBS|INCLUDES)\b", " ".join(rest.split()))
            path = re.search(r"\bPATH (\S+)", rest)
            declared[path[1] if path else f"src/{name}"] = ", ".join(sees[1].split() if sees else []) or "nothing"
    page = os.path.join(ROOT, "docs", "design.md")
    for number, line, _ in blocks(page):
        row = re.fullmatch(r"\| `([\w/]+)` \| .* \| ([\w, ]+) \|", line)
        if row and row[1] in declared:
            sees = declared.pop(row[1])
            if row[2] != sees:
                problem(page, number, f"{row[1]} sees {row[2]} here, in CMakeLists.txt: {sees}")
    for folder, sees in declared.items():
        problem(page, 1, f"the table of rooms has no row: | `{folder}` | … | {sees} |")


def main():
    links = {page: check_page(page) for page in pages()}
    check_comments()
    check_rooms()
    reached, waiting = set(), [os.path.join(ROOT, "README.md")]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            waiting += links.get(page, [])
    for page in links:
        if page.startswith(os.path.join(ROOT, "docs")) and page not in reached:
            problem(page, 1, "no link leads here from README.md")
    print("\n".join(problems) or f"{len(links)} pages, {sum(map(len, links.values()))} links between them")
    sys.exit(1 if problems else 0)


main()
